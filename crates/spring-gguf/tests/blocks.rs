//! Dequantised values against those of the Python package `gguf`; see `fixtures/blocks.py`.
#![allow(clippy::unwrap_used)] // helpers of tests are tests

use spring_gguf::{BlockFormat, dequantise};

#[test]
fn values_equal_the_reference_bit_for_bit() {
    let mut rest = include_bytes!("fixtures/blocks.bin").as_slice();
    let mut seen = Vec::new();
    while !rest.is_empty() {
        let word = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap());
        let (format, bytes) = (BlockFormat::from_id(word(0)).unwrap(), word(4) as usize);
        let count = bytes / format.block_bytes() * format.block_len();
        let (blocks, values) = rest[8..].split_at(bytes);
        let (values, after) = values.split_at(4 * count);
        let mut got = vec![f32::NAN; count];
        dequantise(format, blocks, &mut got);
        for (i, (got, want)) in got.iter().zip(values.chunks_exact(4)).enumerate() {
            let want = f32::from_le_bytes(want.try_into().unwrap());
            assert_eq!(got.to_bits(), want.to_bits(), "{format}, value {i}: {got} and {want}");
        }
        seen.push(format);
        rest = after;
    }
    seen.sort();
    assert_eq!(seen, BlockFormat::ALL);
}
