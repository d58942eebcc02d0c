//! Blocks whose codes are places in a table of levels.

use super::half_at;

/// The levels of IQ4_NL and IQ4_XS.
pub(crate) const IQ4_LEVELS: [i8; 16] =
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// Twice the numbers that four bits hold in MXFP4: sign, two bits of exponent, one of mantissa.
pub(crate) const MXFP4_LEVELS: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// Half of two to the power `e − 127`: half, because [`MXFP4_LEVELS`] are doubled.
fn e8m0_half(e: u8) -> f32 {
    // The two smallest are subnormal.
    let bits = if e < 2 { 0x0020_0000 << e } else { u32::from(e - 1) << 23 };
    f32::from_bits(bits)
}

/// 32 values from 16 bytes: first the low nibbles, then the high ones.
fn levels(scale: f32, bytes: &[u8], table: &[i8; 16], out: &mut [f32]) {
    for (i, out) in out.iter_mut().enumerate() {
        let code = (bytes[i % 16] >> (4 * (i / 16))) & 15;
        *out = scale * f32::from(table[usize::from(code)]);
    }
}

pub(super) fn iq4_nl(block: &[u8], out: &mut [f32]) {
    levels(half_at(block, 0), &block[2..], &IQ4_LEVELS, out);
}

pub(super) fn iq4_xs(block: &[u8], out: &mut [f32]) {
    let d = half_at(block, 0);
    let high = u16::from_le_bytes([block[2], block[3]]);
    let (low, codes) = (&block[4..8], &block[8..136]);
    for (group, out) in out.chunks_exact_mut(32).enumerate() {
        let low = (low[group / 2] >> (4 * (group % 2))) & 15;
        let high = ((high >> (2 * group)) & 3) as u8;
        let scale = d * (f32::from(low | (high << 4)) - 32.0);
        levels(scale, &codes[16 * group..], &IQ4_LEVELS, out);
    }
}

pub(super) fn mxfp4(block: &[u8], out: &mut [f32]) {
    levels(e8m0_half(block[0]), &block[1..], &MXFP4_LEVELS, out);
}
