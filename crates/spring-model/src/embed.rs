//! Embeddings of texts: what dense search compares.

use burn::tensor::{Int, Tensor, TensorData};
use ndarray::{Array2, Axis};

use crate::{
    CausalLm, ModelBackend, ModelError, Result, batch::length_buckets, lora::LoraRows,
    to_host::to_host,
};

const ROWS_AT_ONCE: usize = 64;

impl<B: ModelBackend> CausalLm<B> {
    /// The base model's embedding of each token sequence: the mean of its final hidden states, of
    /// length 1.
    ///
    /// # Shapes
    ///
    /// `[rows, hidden]`
    ///
    /// # Errors
    ///
    /// [`ModelError::Sequence`] for a row that is empty, too long, or holds unknown ids.
    pub fn embed(&self, rows: &[Vec<u32>]) -> Result<Array2<f32>> {
        for row in rows {
            self.config.check_ids(row)?;
            self.config.check_length(row.len())?;
            if row.is_empty() {
                return Err(ModelError::Sequence("an embedding needs at least one token".into()));
            }
        }
        let lengths: Vec<usize> = rows.iter().map(Vec::len).collect();
        let width = self.config.hidden_size;
        let mut embeddings = Array2::zeros((rows.len(), width));
        for bucket in length_buckets(&lengths, ROWS_AT_ONCE, self.tokens_at_once) {
            let length = lengths[bucket[0]];
            let mut tokens = Vec::with_capacity(bucket.len() * length);
            let mut weights = Vec::with_capacity(bucket.len() * length);
            for &row in &bucket {
                let own = rows[row].len();
                tokens.extend(rows[row].iter().map(|id| i64::from(*id)));
                tokens.resize(tokens.len() + length - own, 0);
                weights.extend((0..length).map(|i| if i < own { 1.0 / own as f32 } else { 0.0 }));
            }
            let own: Vec<usize> = bucket.iter().map(|row| lengths[*row]).collect();
            let shape = [bucket.len(), length];
            let tokens =
                Tensor::<B, 2, Int>::from_data(TensorData::new(tokens, shape), &self.device);
            let weights = TensorData::new(weights, [bucket.len(), 1, length]);
            let weights = Tensor::<B, 3>::from_data(weights, &self.device);
            let none = vec![None; bucket.len()];
            let means = self.workers.pass(B::SIDE_BY_SIDE, || {
                let hidden = self.transformer.forward(tokens, &own, &LoraRows::new(&none));
                to_host(weights.matmul(hidden.reshape([bucket.len(), length, width])))
            })?;
            for (&row, mean) in bucket.iter().zip(means.chunks_exact(width)) {
                let norm = mean.iter().map(|x| x * x).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
                embeddings
                    .index_axis_mut(Axis(0), row)
                    .iter_mut()
                    .zip(mean)
                    .for_each(|(e, x)| *e = x / norm);
            }
        }
        Ok(embeddings)
    }
}
