//! Log-likelihoods of given responses.

use std::ops::ControlFlow;

use ndarray::ArrayView2;

use crate::{
    CausalLm, ModelBackend, ModelError, Result, Sequence,
    batch::{Batch, length_buckets},
    head::chunk_len,
    lora::{Lora, LoraRows},
    to_host::to_host,
};

const ROWS_AT_ONCE: usize = 64;

impl<B: ModelBackend> CausalLm<B> {
    /// Log-likelihood of every response token, in nats; one list per row, in the order given.
    ///
    /// Each row carries its own adapter, or none for the base. Rows of similar length run together.
    ///
    /// # Errors
    ///
    /// [`ModelError::Sequence`] for a row that the model cannot run.
    pub fn score(&self, rows: &[(&Sequence, Option<&Lora<B>>)]) -> Result<Vec<Vec<f32>>> {
        let buckets = self.buckets(rows)?;
        let mut scores = vec![Vec::new(); rows.len()];
        self.score_buckets(rows, &buckets, &mut scores)?;
        Ok(scores)
    }

    /// The same, in the same batches, and `between` is called before each batch: before as many of
    /// them as run side by side.
    ///
    /// # Errors
    ///
    /// As [`score`](Self::score), and [`ModelError::Stopped`] if `between` asks to stop.
    pub fn score_in_passes(
        &self,
        rows: &[(&Sequence, Option<&Lora<B>>)],
        between: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<Vec<Vec<f32>>> {
        let buckets = self.buckets(rows)?;
        let at_once = if B::SIDE_BY_SIDE { self.workers.threads() } else { 1 };
        let mut scores = vec![Vec::new(); rows.len()];
        for buckets in buckets.chunks(at_once.max(1)) {
            if between().is_break() {
                return Err(ModelError::Stopped);
            }
            self.score_buckets(rows, buckets, &mut scores)?;
        }
        Ok(scores)
    }

    /// Which rows run together.
    fn buckets(&self, rows: &[(&Sequence, Option<&Lora<B>>)]) -> Result<Vec<Vec<usize>>> {
        for (sequence, _) in rows {
            sequence.check(&self.config)?;
        }
        let lengths: Vec<usize> = rows.iter().map(|(sequence, _)| sequence.len()).collect();
        Ok(length_buckets(&lengths, ROWS_AT_ONCE, self.tokens_at_once))
    }

    fn score_buckets(
        &self,
        rows: &[(&Sequence, Option<&Lora<B>>)],
        buckets: &[Vec<usize>],
        scores: &mut [Vec<f32>],
    ) -> Result<()> {
        let parts = self
            .workers
            .passes(B::SIDE_BY_SIDE, buckets, |bucket| self.score_bucket(rows, bucket.clone()));
        for part in parts {
            for (i, score) in part? {
                scores[i] = score;
            }
        }
        Ok(())
    }

    /// Scores rows that run together; gives them with their indices.
    fn score_bucket(
        &self,
        rows: &[(&Sequence, Option<&Lora<B>>)],
        mut bucket: Vec<usize>,
    ) -> Result<Vec<(usize, Vec<f32>)>> {
        // Rows of one adapter beside each other form one span.
        bucket.sort_by_key(|i| (rows[*i].1.map(|lora| std::ptr::from_ref(lora) as usize), *i));
        let sequences: Vec<&Sequence> = bucket.iter().map(|i| rows[*i].0).collect();
        let adapters: Vec<Option<&Lora<B>>> = bucket.iter().map(|i| rows[*i].1).collect();
        let batch = Batch::<B>::new(&sequences, &self.device);
        let hidden =
            self.transformer.forward(batch.inputs, &batch.lengths, &LoraRows::new(&adapters));
        let hidden = hidden.select(0, batch.positions);
        let all = to_host(self.transformer.head().log_likelihoods(hidden, batch.targets))?;
        let mut rest = all.as_slice();
        let own = |i: usize| {
            let (own, others) = rest.split_at(rows[i].0.response.len());
            rest = others;
            (i, own.to_vec())
        };
        Ok(bucket.into_iter().map(own).collect())
    }

    /// Hands the next-token distributions of several branches to `visit`, position by position of
    /// one response.
    ///
    /// The branches are the rows of one batch: each has its own context and adapter, all are given
    /// the same response tokens. `visit` gets the position in the response and the branches'
    /// log-probabilities, `[branches, vocabulary]`.
    ///
    /// # Errors
    ///
    /// [`ModelError::Sequence`] for a branch that the model cannot run, or what `visit` returns.
    pub fn score_branches<E: From<ModelError>>(
        &self,
        branches: &[(&[u32], Option<&Lora<B>>)],
        response: &[u32],
        mut visit: impl FnMut(usize, ArrayView2<'_, f32>) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let sequences: Vec<Sequence> = branches
            .iter()
            .map(|(context, _)| Sequence { context: context.to_vec(), response: response.to_vec() })
            .collect();
        for sequence in &sequences {
            sequence.check(&self.config)?;
        }
        let adapters: Vec<Option<&Lora<B>>> = branches.iter().map(|(_, lora)| *lora).collect();
        let batch = Batch::<B>::new(&sequences.iter().collect::<Vec<_>>(), &self.device);
        let lora = LoraRows::new(&adapters);
        let hidden = self.workers.pass(B::SIDE_BY_SIDE, || {
            self.transformer.forward(batch.inputs, &batch.lengths, &lora)
        });
        let width = self.config.hidden_size;
        // `[branches * positions, hidden]` to `[positions * branches, hidden]`: what is mixed lies
        // together.
        let hidden = hidden
            .select(0, batch.positions)
            .reshape([branches.len(), response.len(), width])
            .swap_dims(0, 1)
            .reshape([response.len() * branches.len(), width]);
        let head = self.transformer.head();
        let vocabulary = self.config.vocab_size;
        let chunk = (chunk_len(vocabulary) / branches.len()).max(1);
        for at in (0..response.len()).step_by(chunk) {
            let count = chunk.min(response.len() - at);
            let range = at * branches.len()..(at + count) * branches.len();
            let log_probs = self
                .workers
                .pass(B::SIDE_BY_SIDE, || to_host(head.log_probs(hidden.clone().slice([range]))))?;
            for (i, numbers) in log_probs.chunks_exact(branches.len() * vocabulary).enumerate() {
                let view = ArrayView2::from_shape((branches.len(), vocabulary), numbers)
                    .map_err(|e| ModelError::Sequence(e.to_string()))?;
                visit(at + i, view)?;
            }
        }
        Ok(())
    }
}
