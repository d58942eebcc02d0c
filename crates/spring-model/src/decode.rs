//! Decoding with a key/value cache.

use burn::tensor::{Int, Tensor, TensorData, backend::Backend};
use ndarray::Array2;

use crate::{
    CausalLm, ModelBackend, ModelError, Result,
    cache::KvCache,
    lora::{Lora, LoraRows},
    score::to_host,
};

/// Branches that decode in lock step: the rows of one batch, each with its own context and adapter.
#[derive(Debug)]
pub struct Decoder<'a, B: Backend> {
    model: &'a CausalLm<B>,
    lora: LoraRows<'a, B>,
    cache: KvCache<B>,
    rows: usize,
    log_probs: Array2<f32>,
}

impl<B: ModelBackend> CausalLm<B> {
    /// Reads every branch's context and gets ready to write up to `max_new` tokens.
    ///
    /// # Errors
    ///
    /// [`ModelError::Sequence`] if there is no branch, a context is empty, or context and new tokens do not fit.
    pub fn decoder<'a>(
        &'a self,
        branches: &[(&[u32], Option<&'a Lora<B>>)],
        max_new: usize,
    ) -> Result<Decoder<'a, B>> {
        if branches.is_empty() || branches.iter().any(|(context, _)| context.is_empty()) {
            return Err(ModelError::Sequence(
                "decoding needs a branch, and each a context of one token".into(),
            ));
        }
        let lengths: Vec<usize> = branches.iter().map(|(context, _)| context.len()).collect();
        let longest = lengths.iter().copied().max().unwrap_or(0);
        for (context, _) in branches {
            self.config.check_ids(context)?;
        }
        let room = longest.saturating_add(max_new);
        self.config.check_length(room)?;
        let padded: Vec<Vec<i64>> = branches
            .iter()
            .map(|(context, _)| {
                let mut row = vec![0; longest - context.len()];
                row.extend(context.iter().map(|id| i64::from(*id)));
                row
            })
            .collect();
        let adapters: Vec<Option<&Lora<B>>> = branches.iter().map(|(_, lora)| *lora).collect();
        let mut decoder = Decoder {
            model: self,
            lora: LoraRows::new(&adapters),
            cache: KvCache::new(&self.config, &lengths, room, &self.device),
            rows: branches.len(),
            log_probs: Array2::zeros((0, 0)),
        };
        // A long context is read in parts: attention then holds [part, context] and not [context, context].
        let part = (self.tokens_at_once / branches.len()).max(1);
        for start in (0..longest).step_by(part) {
            let end = (start + part).min(longest);
            let tokens = padded.iter().flat_map(|row| &row[start..end]).copied().collect();
            decoder.run(tokens, end - start, end == longest)?;
        }
        Ok(decoder)
    }
}

impl<B: ModelBackend> Decoder<'_, B> {
    /// Log-probabilities of the next token, one row per branch.
    ///
    /// # Shapes
    ///
    /// `[branches, vocabulary]`
    pub fn log_probs(&self) -> &Array2<f32> {
        &self.log_probs
    }

    /// Appends one token to every branch.
    ///
    /// # Errors
    ///
    /// [`ModelError::Sequence`] if the room asked for is used up or the id is unknown.
    pub fn push(&mut self, token: u32) -> Result<()> {
        self.model.config.check_ids(&[token])?;
        if self.cache.room() == 0 {
            return Err(ModelError::Sequence(
                "no room for another token: ask for more when decoding starts".into(),
            ));
        }
        self.run(vec![i64::from(token); self.rows], 1, true)
    }

    /// Reads tokens, `[rows, length]`; the distributions after the last of them are only computed if asked for.
    fn run(&mut self, tokens: Vec<i64>, length: usize, is_last: bool) -> Result<()> {
        let model = self.model;
        let tokens = TensorData::new(tokens, [self.rows, length]);
        let tokens = Tensor::<B, 2, Int>::from_data(tokens, &model.device);
        let hidden = model.transformer.forward_cached(tokens, &self.lora, &mut self.cache);
        if !is_last {
            return Ok(());
        }
        let width = model.config.hidden_size;
        let last = hidden
            .reshape([self.rows, length, width])
            .slice([0..self.rows, length - 1..length, 0..width])
            .reshape([self.rows, width]);
        let numbers = to_host(model.transformer.head().log_probs(last))?;
        self.log_probs = Array2::from_shape_vec((self.rows, model.config.vocab_size), numbers)
            .map_err(|e| ModelError::Sequence(e.to_string()))?;
        Ok(())
    }
}
