//! The tables of rotary position embeddings on the device.

use burn::tensor::{Tensor, TensorData, backend::Backend};
use spring_lm::RopeConfig;

/// Cosines and sines of some positions.
///
/// Made anew for every pass: the tables of a context of 131,072 would be larger than a small model.
///
/// # Shapes
///
/// - positions: of all tokens of a pass, or of one row if all rows have the same
/// - output, twice: `[positions, head_dim / 2]`
pub(crate) fn tables<B: Backend>(
    rope: &RopeConfig,
    head_dim: usize,
    positions: &[usize],
    device: &B::Device,
) -> [Tensor<B, 2>; 2] {
    let reach = positions.iter().max().map_or(0, |last| last + 1);
    let (frequencies, scale) = (rope.frequencies(head_dim, reach), rope.attention_factor());
    [f32::cos, f32::sin].map(|function| {
        let angles = positions.iter().flat_map(|p| frequencies.iter().map(move |f| *p as f32 * f));
        let numbers: Vec<f32> = angles.map(|angle| function(angle) * scale).collect();
        Tensor::from_data(TensorData::new(numbers, [positions.len(), frequencies.len()]), device)
    })
}
