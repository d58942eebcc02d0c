//! What the server knows of one person, as plain data. Times are RFC 3339 with an offset or `Z`.

use std::io::Read;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PageRequest {
    /// Begin after the item of this id; `None`: at the beginning.
    pub after: Option<String>,
    /// At most this many items: 1 to 1000.
    pub limit: usize,
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Page<T> {
    /// The items.
    pub data: Vec<T>,
    /// Whether there are more; the last item's id is then the next request's `after`.
    pub has_more: bool,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UserInfo {
    /// The user's id: 1 to 256 bytes, no control characters, not blank.
    pub id: String,
    /// Interactions in the state.
    pub interactions: u64,
    /// Those in no period yet.
    pub pending: u64,
    /// Time of the first interaction.
    pub first: Option<String>,
    /// Time of the last interaction.
    pub last: Option<String>,
    /// Periods learned.
    pub periods: u32,
    /// The generation in use; 0 for none.
    pub generation: u32,
    /// Texts in its buffer.
    pub buffer: u64,
    /// Whether conversations are kept.
    pub consent: bool,
}

/// A text to be kept. Unknown keys are errors.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewInteraction {
    /// Unique per user. Without one the server makes it of the request's Idempotency-Key, and
    /// without that the service of the content.
    #[serde(default)]
    pub id: Option<String>,
    /// `None`: now, if it is new. Of an id that is there already, a missing time is equal to any.
    #[serde(default)]
    pub time: Option<String>,
    /// May be empty.
    #[serde(default)]
    pub prompt: String,
    /// Not empty.
    pub response: String,
    /// Kept and shown, never read by the method.
    #[serde(default)]
    pub meta: Option<Value>,
}

/// What [`Service::add_interactions`](crate::Service::add_interactions) did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Added {
    /// New interactions.
    pub added: u64,
    /// Those that were there already, with equal content.
    pub known: u64,
    /// The ids, in the order of the request.
    pub ids: Vec<String>,
}

/// An interaction in the state.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InteractionInfo {
    /// Unique per user.
    pub id: String,
    /// When it was written.
    pub time: String,
    /// The prompt.
    pub prompt: String,
    /// The response.
    pub response: String,
    /// What came with it.
    pub meta: Option<Value>,
    /// Its period; `None` while it waits.
    pub period: Option<u32>,
    /// Whether it is held out there: in no training, buffer or index.
    pub held_out: bool,
}

/// A text that a search found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Found {
    /// Its score; what it means depends on the search of the settings.
    pub score: f64,
    /// The text.
    pub interaction: InteractionInfo,
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// It waits for its turn.
    Waiting,
    /// It runs.
    Running,
    /// It ended, and what it learned is in use.
    Done,
    /// It ended, and what it learned, if anything, is not in use; its `error` says why.
    Failed,
    /// It was ended before it was done; nothing changed.
    Cancelled,
}

/// An adaptation: pending texts are cut into periods and learned.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Adaptation {
    /// Its id.
    pub id: String,
    /// Where it stands.
    pub state: JobState,
    /// Who asked: `request`, or the policy of the settings, `pending` or `idle`.
    pub cause: String,
    /// When it was asked for.
    pub created: String,
    /// When it began.
    pub started: Option<String>,
    /// When it ended.
    pub finished: Option<String>,
    /// Periods learned.
    pub periods: u32,
    /// The generation in use after it; `None` until then, or if there was nothing to learn.
    pub generation: Option<u32>,
    /// Why it failed; of one that waits, what it waits for, if that is not its turn.
    pub error: Option<String>,
}

/// A generation: an adapter and its buffer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GenerationInfo {
    /// Its number, from 1.
    pub number: u32,
    /// The generation it started from; 0 for none.
    pub parent: u32,
    /// The period it learned.
    pub period: u32,
    /// When it was learned.
    pub finished: String,
    /// Whether it is the one in use.
    pub current: bool,
    /// Whether the one in use came from it, or is it.
    pub on_path: bool,
    /// Whether its adapter is kept, so that there is a way back to it.
    pub kept: bool,
    /// Bytes of its adapter; `None` once it was pruned.
    pub adapter_bytes: Option<u64>,
    /// Texts of its buffer; `None` once it was pruned.
    pub buffer: Option<u64>,
}

/// A way back that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RolledBack {
    /// The generation that was in use; 0 for none.
    pub from: u32,
    /// The generation in use now; 0 for none.
    pub to: u32,
}

/// A learned period: what was selected of it and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PeriodInfo {
    /// Its number.
    pub period: u32,
    /// The generation that learned it.
    pub generation: u32,
    /// When it was learned.
    pub finished: String,
    /// Time of its first text.
    pub first: Option<String>,
    /// Time of its last text.
    pub last: Option<String>,
    /// Texts held out.
    pub held_out: u64,
    /// Texts selected.
    pub selected: u64,
    /// The lowest score that was selected.
    pub cutoff: Option<f64>,
    /// The rule of the selection, in words.
    pub reason: String,
    /// When the gate opens after it, in words.
    pub gate: String,
    /// Optimiser steps.
    pub steps: u64,
    /// Seconds of wall time.
    pub seconds: f64,
    /// Every text that could be learned, in the order of time.
    pub texts: Vec<PeriodText>,
    /// Ids of texts that left the buffer, and why.
    pub evicted: Vec<EvictedText>,
}

/// A text of a learned period. Scores are in nats, per token or per byte as the settings say.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PeriodText {
    /// The interaction's id.
    pub id: String,
    /// When it was written; `None` if it was forgotten meanwhile.
    pub time: Option<String>,
    /// Its novelty N: how much likelier it is under the base, or under a population's adapter where
    /// the settings say so, than under the adapter before the update.
    pub novelty: f64,
    /// Its quality Q.
    pub quality: f64,
    /// Its drift score S.
    pub score: f64,
    /// Its rank among the selected, from 1; `None` if it was not selected.
    pub selected: Option<u64>,
    /// Its beginning, at most 200 characters; `None` if it was forgotten meanwhile.
    pub excerpt: Option<String>,
}

/// A text that left the buffer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EvictedText {
    /// The interaction's id.
    pub id: String,
    /// Why, in words.
    pub reason: String,
}

/// A text in the residual buffer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BufferText {
    /// Its residual score under the policy of the settings.
    pub score: f64,
    /// The text.
    pub interaction: InteractionInfo,
}

/// How one answer came about.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// The answer's id.
    pub response_id: String,
    /// The choice, from 0.
    pub choice: u32,
    /// When it was given.
    pub time: String,
    /// What was asked.
    pub prompt: String,
    /// What was answered.
    pub text: String,
    /// Why it ended.
    pub finish_reason: Option<super::FinishReason>,
    /// Generation, gate, retrieved texts, λ.
    #[serde(flatten)]
    pub detail: super::AnswerDetail,
    /// Its tokens; empty when the gate was closed.
    pub tokens: Vec<ExplainedToken>,
}

/// A token of an explained answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExplainedToken {
    /// Its text.
    pub text: String,
    /// Weight of the retrieval branch at its step.
    pub lambda: f32,
    /// Share of its probability that came from retrieved texts, 0 to 1.
    pub retrieval_share: f32,
}

/// What a person really used of an answer.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feedback {
    /// The answer's id.
    pub response_id: String,
    /// The choice, from 0.
    #[serde(default)]
    pub choice: u32,
    /// The final text; not empty.
    pub text: String,
}

/// What a person has agreed to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Consent {
    /// Whether conversations are kept.
    pub keep_conversations: bool,
    /// Since when; `None` if it was never said.
    pub since: Option<String>,
    /// Whether something may be learned of the person's texts that everybody new starts from.
    pub contribute: bool,
    /// Since when; `None` if it was never said.
    pub contribute_since: Option<String>,
}

/// What a person says of it now; what is `None` stays as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Saying {
    /// Whether conversations are kept from now on.
    pub keep_conversations: Option<bool>,
    /// Whether others may start from what is learned of the person's texts. What was learned
    /// already stays.
    pub contribute: Option<bool>,
}

/// What was removed from where. No text of it is quoted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Receipt {
    /// The user.
    pub user: String,
    /// The interaction; `None` if it was the whole user.
    pub interaction: Option<String>,
    /// When it was done: nothing of it is in the state from then on.
    pub time: String,
    /// What was removed, a line for each place, those with nothing in them too.
    pub removed: Vec<Removed>,
    /// Generations that were learned again without the text.
    pub relearned: Vec<u32>,
    /// The numbers of the priors that were learned from it, and know it until they are learned
    /// again; left out where there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub priors: Vec<u32>,
}

/// What was removed from one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// `history`, `buffer`, `adapters`, `records`, `embeddings`, `caches`, `jobs`, …
    pub place: String,
    /// How many items.
    pub count: u64,
}

/// Everything of a user, on its way out.
pub struct Export {
    /// As in `Content-Type`.
    pub media_type: &'static str,
    /// The ending of a file's name, with its dot.
    pub extension: &'static str,
    /// The bytes. It is read on a thread that may block; what fails there breaks the transfer off.
    pub bytes: Box<dyn Read + Send>,
}

impl std::fmt::Debug for Export {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Export").field("media_type", &self.media_type).finish_non_exhaustive()
    }
}

/// What an import brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// Interactions.
    pub interactions: u64,
    /// Generations.
    pub generations: u64,
    /// Records of answers.
    pub answers: u64,
}
