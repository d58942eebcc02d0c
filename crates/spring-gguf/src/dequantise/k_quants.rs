//! Blocks of 256 codes, whose scales are quantised themselves.

use super::half_at;

pub(super) fn q2_k(block: &[u8], out: &mut [f32]) {
    let (scales, codes) = (&block[..16], &block[16..80]);
    let (d, d_min) = (half_at(block, 80), half_at(block, 82));
    for (group, out) in out.chunks_exact_mut(16).enumerate() {
        let scale = d * f32::from(scales[group] & 15);
        let min = d_min * f32::from(scales[group] >> 4);
        let (bytes, shift) = two_bits(codes, group);
        for (out, &byte) in out.iter_mut().zip(bytes) {
            *out = scale * f32::from((byte >> shift) & 3) - min;
        }
    }
}

/// The 16 bytes that hold a group's two-bit codes, and how far they are shifted: 32 bytes cover
/// 128 values, four times 32.
fn two_bits(codes: &[u8], group: usize) -> (&[u8], usize) {
    let start = 32 * (group / 8) + 16 * (group % 2);
    (&codes[start..start + 16], 2 * (group % 8 / 2))
}

pub(super) fn q3_k(block: &[u8], out: &mut [f32]) {
    let (high, codes, scales) = (&block[..32], &block[32..96], &block[96..108]);
    let d = half_at(block, 108);
    for (group, out) in out.chunks_exact_mut(16).enumerate() {
        let scale = d * f32::from(six_bit_scale(scales, group) as i8 - 32);
        let (bytes, shift) = two_bits(codes, group);
        // One mask byte per value of 32, one bit per 32 values.
        let mask = &high[16 * (group % 2)..];
        for ((out, &byte), &high) in out.iter_mut().zip(bytes).zip(mask) {
            let code = ((byte >> shift) & 3) | (((high >> (group / 2)) & 1) << 2);
            *out = scale * (f32::from(code) - 4.0);
        }
    }
}

/// One of the 16 scales of six bits that Q3_K packs into 12 bytes.
fn six_bit_scale(scales: &[u8], group: usize) -> u8 {
    let low = (scales[group % 8] >> (4 * (group / 8))) & 15;
    let high = (scales[8 + group % 4] >> (2 * (group / 4))) & 3;
    low | (high << 4)
}

/// One of the eight scales, and its minimum, of six bits each, that Q4_K and Q5_K pack into
/// 12 bytes.
fn scale_and_min(scales: &[u8], group: usize) -> (u8, u8) {
    if group < 4 {
        (scales[group] & 63, scales[group + 4] & 63)
    } else {
        let (low, high) = (scales[group + 4], [scales[group - 4] >> 6, scales[group] >> 6]);
        ((low & 15) | (high[0] << 4), (low >> 4) | (high[1] << 4))
    }
}

pub(super) fn q4_k(block: &[u8], out: &mut [f32]) {
    let (d, d_min) = (half_at(block, 0), half_at(block, 2));
    let (scales, codes) = (&block[4..16], &block[16..144]);
    for (group, out) in out.chunks_exact_mut(32).enumerate() {
        let (scale, min) = scale_and_min(scales, group);
        let (scale, min) = (d * f32::from(scale), d_min * f32::from(min));
        let bytes = &codes[32 * (group / 2)..];
        for (out, &byte) in out.iter_mut().zip(bytes) {
            *out = scale * f32::from((byte >> (4 * (group % 2))) & 15) - min;
        }
    }
}

pub(super) fn q5_k(block: &[u8], out: &mut [f32]) {
    let (d, d_min) = (half_at(block, 0), half_at(block, 2));
    let (scales, high, codes) = (&block[4..16], &block[16..48], &block[48..176]);
    for (group, out) in out.chunks_exact_mut(32).enumerate() {
        let (scale, min) = scale_and_min(scales, group);
        let (scale, min) = (d * f32::from(scale), d_min * f32::from(min));
        let bytes = &codes[32 * (group / 2)..];
        for ((out, &byte), &high) in out.iter_mut().zip(bytes).zip(high) {
            let code = ((byte >> (4 * (group % 2))) & 15) | (((high >> group) & 1) << 4);
            *out = scale * f32::from(code) - min;
        }
    }
}

pub(super) fn q6_k(block: &[u8], out: &mut [f32]) {
    let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let d = half_at(block, 208);
    for (group, out) in out.chunks_exact_mut(16).enumerate() {
        let scale = d * f32::from(scales[group] as i8);
        // 128 values take 64 bytes of low and 32 of high bits; `part` is which 32 of the 128.
        let (half, part, start) = (group / 8, group % 8 / 2, 16 * (group % 2));
        let low = &low[64 * half + 32 * (part % 2) + start..];
        let high = &high[32 * half + start..];
        for ((out, &low), &high) in out.iter_mut().zip(low).zip(high) {
            let code = ((low >> (4 * (part / 2))) & 15) | (((high >> (2 * part)) & 3) << 4);
            *out = scale * (f32::from(code) - 32.0);
        }
    }
}
