//! Token sequences in batches.

use burn::tensor::{Int, Tensor, TensorData, backend::Backend};
use spring_lm::Sequence;

/// Sequences as the rows of one tensor, padded on the right.
pub(crate) struct Batch<B: Backend> {
    /// All tokens but each row's last, `[rows, length]`.
    pub inputs: Tensor<B, 2, Int>,
    /// How many of a row's inputs are no padding, `[rows]`.
    pub lengths: Vec<usize>,
    /// Flat positions whose hidden states predict the response tokens, row by row.
    pub positions: Tensor<B, 1, Int>,
    /// The response tokens, in the same order.
    pub targets: Tensor<B, 1, Int>,
}

impl<B: Backend> Batch<B> {
    pub(crate) fn new(sequences: &[&Sequence], device: &B::Device) -> Self {
        let lengths: Vec<usize> = sequences.iter().map(|s| s.len() - 1).collect();
        let length = lengths.iter().copied().max().unwrap_or(0);
        let (mut inputs, mut positions, mut targets) = (Vec::new(), Vec::new(), Vec::new());
        for (row, sequence) in sequences.iter().enumerate() {
            let all = sequence.context.iter().chain(&sequence.response);
            inputs.extend(all.take(sequence.len() - 1).map(|id| i64::from(*id)));
            inputs.resize((row + 1) * length, 0);
            let first = row * length + sequence.context.len() - 1;
            positions.extend((first..first + sequence.response.len()).map(|at| at as i64));
            targets.extend(sequence.response.iter().map(|id| i64::from(*id)));
        }
        let count = targets.len();
        Self {
            inputs: Tensor::from_data(TensorData::new(inputs, [sequences.len(), length]), device),
            positions: Tensor::from_data(TensorData::new(positions, [count]), device),
            lengths,
            targets: Tensor::from_data(TensorData::new(targets, [count]), device),
        }
    }
}

/// Indices in groups of similar length, so that little is padding: longest first, each group at
/// most `rows` rows and `tokens` padded tokens (but at least one row).
pub(crate) fn length_buckets(lengths: &[usize], rows: usize, tokens: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|i| std::cmp::Reverse(lengths[*i]));
    let mut buckets: Vec<Vec<usize>> = Vec::new();
    for i in order {
        match buckets.last_mut() {
            Some(last) if last.len() < rows && (last.len() + 1) * lengths[last[0]] <= tokens => {
                last.push(i)
            }
            _ => buckets.push(vec![i]),
        }
    }
    buckets
}
