//! The tables of rotary position embeddings on the device.

use std::ops::Range;

use burn::tensor::{Tensor, TensorData, backend::Backend};
use spring_lm::RopeConfig;

/// Where the tokens of one row stand.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    pub positions: Range<usize>,
    /// How many positions the row's text goes up to, as far as it is known.
    pub reach: usize,
}

/// Cosines and sines of the positions of some rows.
///
/// A row's frequencies depend on its own text and on no other row's. The tables are made anew for
/// every pass: those of a context of 131,072 would be larger than a small model.
///
/// # Shapes
///
/// output, twice: `[positions of all rows, head_dim / 2]`
pub(crate) fn tables<B: Backend>(
    rope: &RopeConfig,
    head_dim: usize,
    rows: &[Places],
    device: &B::Device,
) -> [Tensor<B, 2>; 2] {
    let scale = rope.attention_factor();
    let (mut reach, mut frequencies) = (0, rope.frequencies(head_dim, 0));
    let mut angles = Vec::new();
    for row in rows {
        if rope.same_up_to().is_some() && row.reach != reach {
            (reach, frequencies) = (row.reach, rope.frequencies(head_dim, row.reach));
        }
        let row = row.positions.clone();
        angles.extend(row.flat_map(|p| frequencies.iter().map(move |f| p as f32 * f)));
    }
    let positions: usize = rows.iter().map(|row| row.positions.len()).sum();
    [f32::cos, f32::sin].map(|function| {
        let numbers: Vec<f32> = angles.iter().map(|angle| function(*angle) * scale).collect();
        Tensor::from_data(TensorData::new(numbers, [positions, frequencies.len()]), device)
    })
}
