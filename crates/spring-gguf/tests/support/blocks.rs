//! Blocks for the tests.

use spring_gguf::{BlockFormat, dequantise};

/// Where a format keeps its half-precision scales.
fn scales(format: BlockFormat) -> &'static [usize] {
    match format {
        BlockFormat::Q4_1 | BlockFormat::Q5_1 | BlockFormat::Q4_K | BlockFormat::Q5_K => &[0, 2],
        BlockFormat::Q2_K => &[80, 82],
        BlockFormat::Q3_K => &[108],
        BlockFormat::Q6_K => &[208],
        _ => &[0],
    }
}

/// Rows of random codes with scales of ordinary size.
pub fn random(format: BlockFormat, rows: usize, columns: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as u32
    };
    let mut bytes = Vec::new();
    for _ in 0..rows * columns / format.block_len() {
        let start = bytes.len();
        bytes.extend((0..format.block_bytes()).map(|_| next() as u8));
        let block = &mut bytes[start..];
        let number = next() as f32 / (1 << 24) as f32 - 0.5;
        match format {
            BlockFormat::F32 => block.copy_from_slice(&number.to_le_bytes()),
            BlockFormat::BF16 => block.copy_from_slice(&number.to_le_bytes()[2..]),
            BlockFormat::MXFP4 => block[0] = 120 + (next() % 8) as u8,
            _ => {
                for &at in scales(format) {
                    let number = next() as f32 / (1 << 27) as f32 - 0.05;
                    let bits = half_bits(number);
                    block[at..at + 2].copy_from_slice(&bits.to_le_bytes());
                }
            }
        }
    }
    bytes
}

/// A number's half-precision bits, cut off; for ordinary sizes.
fn half_bits(x: f32) -> u16 {
    let bits = x.to_bits();
    let exponent = ((bits >> 23) & 255) as i32 - 112;
    let sign = (bits >> 16) as u16 & 0x8000;
    if exponent <= 0 {
        sign
    } else {
        sign | ((exponent as u16) << 10) | ((bits >> 13) & 0x3ff) as u16
    }
}

pub fn values(format: BlockFormat, bytes: &[u8]) -> Vec<f32> {
    let mut values = vec![0.0; bytes.len() / format.block_bytes() * format.block_len()];
    dequantise(format, bytes, &mut values);
    values
}
