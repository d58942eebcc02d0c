//! Plain floats, and blocks of 32 codes with one scale.

use super::half_at;

pub(super) fn f32(block: &[u8], out: &mut [f32]) {
    out[0] = f32::from_le_bytes([block[0], block[1], block[2], block[3]]);
}

pub(super) fn f16(block: &[u8], out: &mut [f32]) {
    out[0] = half_at(block, 0);
}

pub(super) fn bf16(block: &[u8], out: &mut [f32]) {
    out[0] = f32::from_bits(u32::from(u16::from_le_bytes([block[0], block[1]])) << 16);
}

/// The low nibbles of 16 bytes are the first 16 codes, the high ones the other 16.
fn nibbles(bytes: &[u8]) -> [u8; 32] {
    std::array::from_fn(|i| (bytes[i % 16] >> (4 * (i / 16))) & 15)
}

/// Five-bit codes: four bits from the nibbles, the fifth from a word with one bit per code.
fn five_bits(high: &[u8], low: &[u8]) -> [u8; 32] {
    let high = u32::from_le_bytes([high[0], high[1], high[2], high[3]]);
    let low = nibbles(low);
    std::array::from_fn(|i| low[i] | ((((high >> i) & 1) as u8) << 4))
}

pub(super) fn q4_0(block: &[u8], out: &mut [f32]) {
    let d = half_at(block, 0);
    for (out, code) in out.iter_mut().zip(nibbles(&block[2..])) {
        *out = d * (f32::from(code) - 8.0);
    }
}

pub(super) fn q4_1(block: &[u8], out: &mut [f32]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    for (out, code) in out.iter_mut().zip(nibbles(&block[4..])) {
        *out = d * f32::from(code) + m;
    }
}

pub(super) fn q5_0(block: &[u8], out: &mut [f32]) {
    let d = half_at(block, 0);
    for (out, code) in out.iter_mut().zip(five_bits(&block[2..6], &block[6..])) {
        *out = d * (f32::from(code) - 16.0);
    }
}

pub(super) fn q5_1(block: &[u8], out: &mut [f32]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    for (out, code) in out.iter_mut().zip(five_bits(&block[4..8], &block[8..])) {
        *out = d * f32::from(code) + m;
    }
}

pub(super) fn q8_0(block: &[u8], out: &mut [f32]) {
    let d = half_at(block, 0);
    for (out, &code) in out.iter_mut().zip(&block[2..]) {
        *out = d * f32::from(code as i8);
    }
}
