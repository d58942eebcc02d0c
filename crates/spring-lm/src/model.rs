//! The language model as the loop sees it.

use std::ops::ControlFlow;

use ndarray::Array2;
use spring_model::{
    AdaptOutcome, Adapter, AnyDecoder, AnyModel, Branch, BranchVisitor, LoraConfig, Message, ModelError,
    ScoreRow, Sequence, Tokenizer, TrainConfig, TrainStep,
};

/// A text's beginning tells its topic.
const EMBEDDED_TOKENS: usize = 512;

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
    fn encode(&self, text: &str) -> Result<Vec<u32>, ModelError>;

    /// The ids of a conversation under the model's chat template, up to where its next turn begins.
    ///
    /// # Errors
    ///
    /// If the model has no template ([`ModelInfo::chat`]), or its template or tokenizer refuses the conversation.
    fn encode_chat(&self, messages: &[Message<'_>]) -> Result<Vec<u32>, ModelError>;

    /// The base's embedding of each text, of length 1: what dense search compares. The end of a long text is left out.
    ///
    /// # Shapes
    ///
    /// `[texts, width]`
    ///
    /// # Errors
    ///
    /// If the tokenizer refuses a text.
    fn embed(&self, texts: &[&str]) -> Result<Array2<f32>, ModelError>;

    /// The text of some ids, special tokens left out.
    ///
    /// # Errors
    ///
    /// If the tokenizer cannot decode them.
    fn decode_text(&self, ids: &[u32]) -> Result<String, ModelError>;

    /// Log-likelihood of every response token; one list per row.
    ///
    /// # Errors
    ///
    /// If a row cannot be run or its adapter is another model's.
    fn score(&self, rows: &[ScoreRow<'_>]) -> Result<Vec<Vec<f32>>, ModelError>;

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
    ) -> Result<(), ModelError>;

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
    ) -> Result<AdaptOutcome, ModelError>;

    /// Decodes branches in lock step, as rows of one batch, and hands them to `run`.
    ///
    /// # Errors
    ///
    /// As [`score`](Self::score), and what `run` returns.
    fn decode(
        &self,
        branches: &[Branch<'_>],
        max_new: usize,
        run: &mut dyn FnMut(&mut dyn AnyDecoder) -> Result<(), ModelError>,
    ) -> Result<(), ModelError>;
}

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

    fn encode(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        self.tokenizer()?.encode(text)
    }

    fn encode_chat(&self, messages: &[Message<'_>]) -> Result<Vec<u32>, ModelError> {
        let ids = self.tokenizer()?.encode_chat(messages)?;
        ids.ok_or_else(|| ModelError::Sequence("the model has no chat template".into()))
    }

    fn embed(&self, texts: &[&str]) -> Result<Array2<f32>, ModelError> {
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
            .collect::<Result<Vec<_>, ModelError>>()?;
        Self::embed(self, &rows)
    }

    fn decode_text(&self, ids: &[u32]) -> Result<String, ModelError> {
        self.tokenizer()?.decode(ids)
    }

    fn score(&self, rows: &[ScoreRow<'_>]) -> Result<Vec<Vec<f32>>, ModelError> {
        Self::score(self, rows)
    }

    fn score_branches(
        &self,
        branches: &[Branch<'_>],
        response: &[u32],
        visit: &mut BranchVisitor<'_>,
    ) -> Result<(), ModelError> {
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
    ) -> Result<AdaptOutcome, ModelError> {
        Self::adapt(self, start, lora, examples, config, seed, progress)
    }

    fn decode(
        &self,
        branches: &[Branch<'_>],
        max_new: usize,
        run: &mut dyn FnMut(&mut dyn AnyDecoder) -> Result<(), ModelError>,
    ) -> Result<(), ModelError> {
        Self::decode(self, branches, max_new, run)
    }
}
