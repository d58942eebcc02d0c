//! A model whose training is shaped for a comparison: equal tokens, replayed texts, a pull to the last adapter; and the
//! same texts are the same training, whichever method chose them.

use std::ops::ControlFlow;

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use spring_core::{LanguageModel, ModelInfo};
use spring_lm::{
    AdaptOutcome, Adapter, AnyDecoder, Branch, BranchVisitor, LoraConfig, Message, ModelError, ScoreRow,
    Sequence, TrainConfig, TrainStep,
};

/// Hands everything on to a model, but for what it does to training.
pub(super) struct Budgeted<'m> {
    pub(super) model: &'m dyn LanguageModel,
    /// Response tokens to train on, whatever the number of examples; `None` for the epochs of the settings.
    pub(super) tokens: Option<usize>,
    /// Older examples that are trained on as well.
    pub(super) replayed: Vec<Sequence>,
    /// How strongly every step is pulled back to where training started; see `TrainConfig::anchor`.
    pub(super) pull: f64,
}

impl Budgeted<'_> {
    /// Whole passes and a part of one more, up to the number of tokens; `None` where that is what the epochs give.
    fn repeated(&self, examples: &[Sequence], epochs: usize) -> Option<Vec<Sequence>> {
        let once: usize = examples.iter().map(|example| example.response.len()).sum();
        let wanted = self.tokens.filter(|tokens| once > 0 && *tokens != once * epochs)?;
        let (mut tokens, mut repeated) = (0, Vec::new());
        for example in examples.iter().cycle() {
            if tokens >= wanted {
                break;
            }
            tokens += example.response.len().max(1);
            repeated.push(example.clone());
        }
        Some(repeated)
    }
}

impl LanguageModel for Budgeted<'_> {
    fn info(&self) -> ModelInfo {
        self.model.info()
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        self.model.encode(text)
    }

    fn encode_chat(&self, messages: &[Message<'_>]) -> Result<Vec<u32>, ModelError> {
        self.model.encode_chat(messages)
    }

    fn embed(&self, texts: &[&str]) -> Result<ndarray::Array2<f32>, ModelError> {
        self.model.embed(texts)
    }

    fn decode_text(&self, ids: &[u32]) -> Result<String, ModelError> {
        self.model.decode_text(ids)
    }

    fn score(&self, rows: &[ScoreRow<'_>]) -> Result<Vec<Vec<f32>>, ModelError> {
        self.model.score(rows)
    }

    fn score_branches(
        &self,
        branches: &[Branch<'_>],
        response: &[u32],
        visit: &mut BranchVisitor<'_>,
    ) -> Result<(), ModelError> {
        self.model.score_branches(branches, response, visit)
    }

    fn adapt(
        &self,
        start: Option<&Adapter>,
        lora: &LoraConfig,
        examples: &[Sequence],
        config: &TrainConfig,
        seed: u64,
        progress: &mut dyn FnMut(TrainStep) -> ControlFlow<()>,
    ) -> Result<AdaptOutcome, ModelError> {
        // A selection comes in the order of its scores, which must not make a difference here: the same texts are the
        // same training, whoever chose them.
        let mut examples = [examples, &self.replayed].concat();
        examples.sort_by(|a, b| (&a.context, &a.response).cmp(&(&b.context, &b.response)));
        examples.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        let (examples, config) = match self.repeated(&examples, config.epochs) {
            Some(repeated) => (repeated, TrainConfig { epochs: 1, ..config.clone() }),
            None => (examples, config.clone()),
        };
        // A first adapter has no last one to stay near to.
        let anchor = if start.is_some() { self.pull } else { 0.0 };
        let config = TrainConfig { anchor, ..config };
        self.model.adapt(start, lora, &examples, &config, seed, progress)
    }

    fn decode(
        &self,
        branches: &[Branch<'_>],
        max_new: usize,
        run: &mut dyn FnMut(&mut dyn AnyDecoder) -> Result<(), ModelError>,
    ) -> Result<(), ModelError> {
        self.model.decode(branches, max_new, run)
    }
}
