//! [`AnyModel`] as a language model.

use std::ops::ControlFlow;

use ndarray::Array2;
use spring_lm::{
    AdaptOutcome, Adapter, AnyDecoder, Branch, BranchVisitor, LanguageModel, LoraConfig, Message, ModelError,
    ModelInfo, Result, ScoreRow, Sequence, Tokenizer, TrainConfig, TrainStep,
};

use crate::AnyModel;

/// A text's beginning tells its topic.
const EMBEDDED_TOKENS: usize = 512;

impl LanguageModel for AnyModel {
    fn info(&self) -> ModelInfo {
        let config = self.config();
        let tokenizer = self.tokenizer().ok();
        let end_of_turn = tokenizer.and_then(Tokenizer::end_of_turn);
        ModelInfo {
            fingerprint: self.fingerprint().into(),
            context: config.max_positions,
            vocabulary: config.vocab_size,
            bos: config.bos,
            eos: end_of_turn
                .into_iter()
                .chain(config.eos.iter().copied().filter(|id| Some(*id) != end_of_turn))
                .collect(),
            chat: tokenizer.is_some_and(Tokenizer::has_chat_template),
        }
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        self.tokenizer()?.encode(text)
    }

    fn encode_chat(&self, messages: &[Message<'_>]) -> Result<Vec<u32>> {
        let ids = self.tokenizer()?.encode_chat(messages)?;
        ids.ok_or_else(|| ModelError::Sequence("the model has no chat template".into()))
    }

    fn embed(&self, texts: &[&str]) -> Result<Array2<f32>> {
        let (bos, context) = (self.config().bos, self.config().max_positions);
        let rows = texts
            .iter()
            .map(|text| {
                // A model without begin token still embeds the empty text.
                let begin = bos.or(self.config().eos.first().copied());
                let mut ids: Vec<u32> = begin.into_iter().chain(self.encode(text)?).collect();
                ids.truncate(EMBEDDED_TOKENS.min(context));
                Ok(ids)
            })
            .collect::<Result<Vec<_>>>()?;
        Self::embed(self, &rows)
    }

    fn decode_text(&self, ids: &[u32]) -> Result<String> {
        self.tokenizer()?.decode(ids)
    }

    fn score(&self, rows: &[ScoreRow<'_>]) -> Result<Vec<Vec<f32>>> {
        Self::score(self, rows)
    }

    fn score_branches(
        &self,
        branches: &[Branch<'_>],
        response: &[u32],
        visit: &mut BranchVisitor<'_>,
    ) -> Result<()> {
        Self::score_branches(self, branches, response, visit)
    }

    fn adapt(
        &self,
        start: Option<&Adapter>,
        lora: &LoraConfig,
        examples: &[Sequence],
        config: &TrainConfig,
        seed: u64,
        progress: &mut dyn FnMut(TrainStep) -> ControlFlow<()>,
    ) -> Result<AdaptOutcome> {
        Self::adapt(self, start, lora, examples, config, seed, progress)
    }

    fn decode(
        &self,
        branches: &[Branch<'_>],
        max_new: usize,
        run: &mut dyn FnMut(&mut dyn AnyDecoder) -> Result<()>,
    ) -> Result<()> {
        Self::decode(self, branches, max_new, run)
    }
}
