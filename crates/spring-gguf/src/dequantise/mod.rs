//! Blocks to 32-bit floats, one block at a time, in plain code.
//!
//! The kernels of the products do the same over 16 rows at once and are held to these values.
//! The order of roundings is that of the format's reference: a scale times its factor, that times
//! the code, and then the minimum.

mod k_quants;
mod plain;
mod table;

use crate::BlockFormat;

pub(crate) use table::{IQ4_LEVELS, MXFP4_LEVELS};

/// Writes the values of whole blocks into `out`.
///
/// # Panics
///
/// If `out` does not have [`BlockFormat::block_len`] values for each [`BlockFormat::block_bytes`]
/// bytes of `blocks`.
///
/// ```
/// use spring_gguf::{BlockFormat, dequantise};
///
/// // A scale of 0.5 (half precision 0x3800) and 32 codes of 8 bits.
/// let mut block = vec![0x00, 0x38];
/// block.extend((0..32).map(|code: i8| code as u8));
/// let mut values = [0.0; 32];
/// dequantise(BlockFormat::Q8_0, &block, &mut values);
/// assert_eq!(values[3], 1.5);
/// ```
pub fn dequantise(format: BlockFormat, blocks: &[u8], out: &mut [f32]) {
    let (bytes, len) = (format.block_bytes(), format.block_len());
    assert!(
        blocks.len().is_multiple_of(bytes) && blocks.len() / bytes * len == out.len(),
        "{} bytes of {format} are not {} values",
        blocks.len(),
        out.len()
    );
    let one: fn(&[u8], &mut [f32]) = match format {
        BlockFormat::F32 => plain::f32,
        BlockFormat::F16 => plain::f16,
        BlockFormat::BF16 => plain::bf16,
        BlockFormat::Q4_0 => plain::q4_0,
        BlockFormat::Q4_1 => plain::q4_1,
        BlockFormat::Q5_0 => plain::q5_0,
        BlockFormat::Q5_1 => plain::q5_1,
        BlockFormat::Q8_0 => plain::q8_0,
        BlockFormat::Q2_K => k_quants::q2_k,
        BlockFormat::Q3_K => k_quants::q3_k,
        BlockFormat::Q4_K => k_quants::q4_k,
        BlockFormat::Q5_K => k_quants::q5_k,
        BlockFormat::Q6_K => k_quants::q6_k,
        BlockFormat::IQ4_NL => table::iq4_nl,
        BlockFormat::IQ4_XS => table::iq4_xs,
        BlockFormat::MXFP4 => table::mxfp4,
    };
    for (block, out) in blocks.chunks_exact(bytes).zip(out.chunks_exact_mut(len)) {
        one(block, out);
    }
}

/// The half-precision number at a byte.
fn half_at(block: &[u8], at: usize) -> f32 {
    half::f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}
