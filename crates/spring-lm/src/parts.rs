//! A language model put together from the parts of others.

use std::ops::ControlFlow;

use ndarray::Array2;

use crate::{
    AdaptOutcome, Branch, BranchVisitor, Decode, Embed, LanguageModel, Message, ModelInfo, Result,
    Score, ScoreRow, Session, Tokenize, Train, TrainRequest, TrainStep,
};

/// A model whose parts may come from different places: what changes one part of a model (counts,
/// remembers, holds to a budget) implements that part's trait alone.
#[derive(Clone, Copy)]
pub struct Parts<'m> {
    tokenize: &'m dyn Tokenize,
    score: &'m dyn Score,
    train: &'m dyn Train,
    decode: &'m dyn Decode,
    embed: &'m dyn Embed,
}

impl<'m> Parts<'m> {
    /// All parts of one model.
    pub fn of(model: &'m dyn LanguageModel) -> Self {
        Self { tokenize: model, score: model, train: model, decode: model, embed: model }
    }

    /// The same with another way to score.
    pub fn with_score(self, score: &'m dyn Score) -> Self {
        Self { score, ..self }
    }

    /// The same with another way to train.
    pub fn with_train(self, train: &'m dyn Train) -> Self {
        Self { train, ..self }
    }

    /// The same with another way to decode.
    pub fn with_decode(self, decode: &'m dyn Decode) -> Self {
        Self { decode, ..self }
    }

    /// The same with another way to embed.
    pub fn with_embed(self, embed: &'m dyn Embed) -> Self {
        Self { embed, ..self }
    }
}

impl std::fmt::Debug for Parts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("info", self.info()).finish_non_exhaustive()
    }
}

impl Tokenize for Parts<'_> {
    fn info(&self) -> &ModelInfo {
        self.tokenize.info()
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        self.tokenize.encode(text)
    }

    fn encode_chat(&self, messages: &[Message<'_>]) -> Result<Vec<u32>> {
        self.tokenize.encode_chat(messages)
    }

    fn decode_text(&self, ids: &[u32]) -> Result<String> {
        self.tokenize.decode_text(ids)
    }

    fn is_byte(&self, id: u32) -> bool {
        self.tokenize.is_byte(id)
    }

    fn token_bytes(&self, id: u32) -> Vec<u8> {
        self.tokenize.token_bytes(id)
    }
}

impl Score for Parts<'_> {
    fn score(&self, rows: &[ScoreRow<'_>]) -> Result<Vec<Vec<f32>>> {
        self.score.score(rows)
    }

    fn score_in_passes(
        &self,
        rows: &[ScoreRow<'_>],
        between: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<Vec<Vec<f32>>> {
        self.score.score_in_passes(rows, between)
    }

    fn score_branches(
        &self,
        branches: &[Branch<'_>],
        response: &[u32],
        visit: &mut BranchVisitor<'_>,
    ) -> Result<()> {
        self.score.score_branches(branches, response, visit)
    }
}

impl Train for Parts<'_> {
    fn train(
        &self,
        request: TrainRequest<'_>,
        progress: &mut dyn FnMut(TrainStep) -> ControlFlow<()>,
    ) -> Result<AdaptOutcome> {
        self.train.train(request, progress)
    }

    fn train_many(
        &self,
        requests: &[TrainRequest<'_>],
        progress: &mut dyn FnMut(usize, TrainStep) -> ControlFlow<()>,
    ) -> Vec<Result<AdaptOutcome>> {
        self.train.train_many(requests, progress)
    }
}

impl Decode for Parts<'_> {
    fn session(&self) -> Result<Box<dyn Session>> {
        self.decode.session()
    }
}

impl Embed for Parts<'_> {
    fn embed_tokens(&self, rows: &[Vec<u32>]) -> Result<Array2<f32>> {
        self.embed.embed_tokens(rows)
    }
}
