//! A language model as its users see it, whatever runs it: five small traits, and their sum.
//!
//! A frozen base model with adapters per row. Every row of a request carries its own adapter, or
//! none for the base, so base and adapter, or many users, are one call. Log-likelihoods are natural
//! logarithms: nats.

use std::ops::ControlFlow;

use ndarray::{Array2, ArrayView2};

use crate::{
    AdaptOutcome, Adapter, Message, ModelInfo, Result, Sequence, Session, TrainRequest, TrainStep,
};

/// Text to token ids and back, and what the model is.
pub trait Tokenize: Send + Sync {
    /// What the model is.
    fn info(&self) -> &ModelInfo;

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
    /// If the model has no template ([`ModelInfo::chat`]), or its template or tokenizer refuses the
    /// conversation.
    fn encode_chat(&self, messages: &[Message<'_>]) -> Result<Vec<u32>>;

    /// The text of some ids, special tokens left out.
    ///
    /// # Errors
    ///
    /// If the tokenizer cannot decode them.
    fn decode_text(&self, ids: &[u32]) -> Result<String>;

    /// Whether a token is a single byte that becomes text only with those around it, as byte
    /// fallback has them. Default false.
    fn is_byte(&self, id: u32) -> bool {
        let _ = id;
        false
    }

    /// The bytes that a token stands for in the middle of a text: a part of a character where it is
    /// only that, with the space that a token which begins a word brings along, and a special token
    /// as it is spelled. None of an id that is no token. The bytes of a text's tokens, one after
    /// the other, are the text's, but for a space that some vocabularies put before all of it.
    ///
    /// By default what the token is decoded to alone, which shows neither parts of characters nor
    /// such spaces.
    fn token_bytes(&self, id: u32) -> Vec<u8> {
        self.decode_text(&[id]).unwrap_or_default().into_bytes()
    }
}

/// One row to score: a sequence, under an adapter or under the base.
pub type ScoreRow<'a> = (&'a Sequence, Option<&'a Adapter>);

/// One branch to decode or to mix: its context, and its adapter or the base.
pub type Branch<'a> = (&'a [u32], Option<&'a Adapter>);

/// What [`Score::score_branches`] calls: a position, and the branches' log-probabilities
/// `[branches, vocabulary]` there.
pub type BranchVisitor<'a> = dyn FnMut(usize, ArrayView2<'_, f32>) -> Result<()> + 'a;

/// How likely given responses are.
pub trait Score: Send + Sync {
    /// Log-likelihood of every response token, in nats; one list per row.
    ///
    /// # Errors
    ///
    /// If a row cannot be run or its adapter is another model's.
    fn score(&self, rows: &[ScoreRow<'_>]) -> Result<Vec<Vec<f32>>>;

    /// The same, to the last bit, with a call of `between` before each of the passes that it takes:
    /// there other work on the machine may go first.
    ///
    /// By default it is one pass.
    ///
    /// # Errors
    ///
    /// As [`score`](Self::score), and [`ModelError::Stopped`](crate::ModelError::Stopped) if
    /// `between` asks to stop.
    fn score_in_passes(
        &self,
        rows: &[ScoreRow<'_>],
        between: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<Vec<Vec<f32>>> {
        match between() {
            ControlFlow::Continue(()) => self.score(rows),
            ControlFlow::Break(()) => Err(crate::ModelError::Stopped),
        }
    }

    /// The log-probabilities `[branches, vocabulary]` of several branches at every position of one
    /// response.
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
}

/// Training of adapters.
pub trait Train: Send + Sync {
    /// Trains an adapter on the responses of some examples; `progress` is called after each step
    /// and may ask to stop.
    ///
    /// # Errors
    ///
    /// If the input is bad, the loss diverges, or `progress` asks to stop; the adapter that
    /// training started from is unchanged.
    fn train(
        &self,
        request: TrainRequest<'_>,
        progress: &mut dyn FnMut(TrainStep) -> ControlFlow<()>,
    ) -> Result<AdaptOutcome>;

    /// Trains several adapters, each as [`train`](Self::train) would alone, to the last bit; one
    /// result for each request, in their order. `progress` is called after each step of each
    /// request, with its place among them, and may ask that one to stop.
    ///
    /// What a model gains by having several at once it does here; the default trains one after the
    /// other.
    fn train_many(
        &self,
        requests: &[TrainRequest<'_>],
        progress: &mut dyn FnMut(usize, TrainStep) -> ControlFlow<()>,
    ) -> Vec<Result<AdaptOutcome>> {
        let train = |(place, request): (usize, &TrainRequest<'_>)| {
            self.train(*request, &mut |step| progress(place, step))
        };
        requests.iter().enumerate().map(train).collect()
    }
}

/// Writing, token by token.
pub trait Decode: Send + Sync {
    /// A decoding session without rows. It is owned: it needs neither this value nor this thread.
    ///
    /// # Errors
    ///
    /// If the model cannot decode.
    fn session(&self) -> Result<Box<dyn Session>>;
}

/// Embeddings of token sequences.
pub trait Embed: Send + Sync {
    /// The base's embedding of each row, of length 1: what dense search compares.
    ///
    /// # Shapes
    ///
    /// `[rows, width]`
    ///
    /// # Errors
    ///
    /// If a row is empty, longer than the context, or holds unknown ids.
    fn embed_tokens(&self, rows: &[Vec<u32>]) -> Result<Array2<f32>>;
}

/// All that the loop asks of a model. Whatever has the five parts is one; to replace a part of
/// another model, see [`Parts`](crate::Parts).
pub trait LanguageModel: Tokenize + Score + Train + Decode + Embed {}

impl<M: Tokenize + Score + Train + Decode + Embed + ?Sized> LanguageModel for M {}
