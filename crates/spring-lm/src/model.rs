//! A language model as its users see it, whatever runs it.

use std::ops::ControlFlow;

use ndarray::{Array2, ArrayView2};

use crate::{AdaptOutcome, Adapter, LoraConfig, Message, Result, Sequence, TrainConfig, TrainStep};

/// What the loop needs to know of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelInfo {
    /// Identifies base and tokenizer.
    pub fingerprint: String,
    /// Longest sequence, in tokens.
    pub context: usize,
    /// Number of token ids.
    pub vocabulary: usize,
    /// The token that begins a text, if the model has one.
    pub bos: Option<u32>,
    /// The tokens that end a text; the first is the one written after a response.
    pub eos: Vec<u32>,
    /// Whether prompts go through a chat template.
    pub chat: bool,
}

/// A frozen base model with adapters per row; backends differ behind this trait and nowhere else.
///
/// Every row of a request carries its own adapter, or none for the base, so base and adapter, or many users, are one
/// call. Log-likelihoods are natural logarithms: nats.
pub trait LanguageModel: Send + Sync {
    /// What the model is.
    fn info(&self) -> ModelInfo;

    /// The ids of a text, no special tokens among them.
    ///
    /// # Errors
    ///
    /// If the tokenizer refuses the text.
    fn encode(&self, text: &str) -> Result<Vec<u32>>;

    /// The ids of a conversation under the model's chat template, up to where its next turn begins.
    ///
    /// # Errors
    ///
    /// If the model has no template ([`ModelInfo::chat`]), or its template or tokenizer refuses the conversation.
    fn encode_chat(&self, messages: &[Message<'_>]) -> Result<Vec<u32>>;

    /// The base's embedding of each text, of length 1: what dense search compares. The end of a long text is left out.
    ///
    /// # Shapes
    ///
    /// `[texts, width]`
    ///
    /// # Errors
    ///
    /// If the tokenizer refuses a text.
    fn embed(&self, texts: &[&str]) -> Result<Array2<f32>>;

    /// The text of some ids, special tokens left out.
    ///
    /// # Errors
    ///
    /// If the tokenizer cannot decode them.
    fn decode_text(&self, ids: &[u32]) -> Result<String>;

    /// Log-likelihood of every response token; one list per row.
    ///
    /// # Errors
    ///
    /// If a row cannot be run or its adapter is another model's.
    fn score(&self, rows: &[ScoreRow<'_>]) -> Result<Vec<Vec<f32>>>;

    /// The log-probabilities `[branches, vocabulary]` of several branches at every position of one response.
    ///
    /// # Errors
    ///
    /// As [`score`](Self::score), and what `visit` returns.
    fn score_branches(
        &self,
        branches: &[Branch<'_>],
        response: &[u32],
        visit: &mut BranchVisitor<'_>,
    ) -> Result<()>;

    /// Trains an adapter on the responses of some examples, from `start` or a fresh one.
    ///
    /// # Errors
    ///
    /// If the input is bad, the loss diverges, or `progress` asks to stop; `start` is unchanged.
    fn adapt(
        &self,
        start: Option<&Adapter>,
        lora: &LoraConfig,
        examples: &[Sequence],
        config: &TrainConfig,
        seed: u64,
        progress: &mut dyn FnMut(TrainStep) -> ControlFlow<()>,
    ) -> Result<AdaptOutcome>;

    /// Decodes branches in lock step, as rows of one batch, and hands them to `run`.
    ///
    /// # Errors
    ///
    /// As [`score`](Self::score), and what `run` returns.
    fn decode(
        &self,
        branches: &[Branch<'_>],
        max_new: usize,
        run: &mut dyn FnMut(&mut dyn AnyDecoder) -> Result<()>,
    ) -> Result<()>;
}

/// One row to score: a sequence, under an adapter or under the base.
pub type ScoreRow<'a> = (&'a Sequence, Option<&'a Adapter>);

/// One branch to decode or to mix: its context, and its adapter or the base.
pub type Branch<'a> = (&'a [u32], Option<&'a Adapter>);

/// What [`LanguageModel::score_branches`] calls: a position, and the branches' log-probabilities `[branches, vocabulary]` there.
pub type BranchVisitor<'a> = dyn FnMut(usize, ArrayView2<'_, f32>) -> Result<()> + 'a;

/// Branches that decode in lock step.
pub trait AnyDecoder {
    /// Log-probabilities of the next token, one row per branch.
    ///
    /// # Shapes
    ///
    /// `[branches, vocabulary]`
    fn log_probs(&self) -> &Array2<f32>;

    /// Appends one token to every branch.
    ///
    /// # Errors
    ///
    /// [`ModelError::Sequence`](crate::ModelError::Sequence) if the room asked for is used up or the
    /// id is unknown.
    fn push(&mut self, token: u32) -> Result<()>;
}
