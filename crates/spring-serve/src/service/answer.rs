//! Requests for text, and the events of an answer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use serde::Serialize;
use tokio::sync::mpsc::{self, error::TrySendError};

use super::ServiceError;

/// Whose model answers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// The base alone.
    Base {
        /// Its id, one of [`Service::models`](crate::Service::models).
        model: String,
        /// Who asks it, if somebody is named; it need not be a user. What they ask is not to be
        /// told by others, not by how soon they are answered either.
        person: Option<String>,
    },
    /// A user's model on it.
    User {
        /// The base's id.
        model: String,
        /// The user.
        user: String,
    },
}

impl Target {
    /// The base's id.
    pub fn model(&self) -> &str {
        match self {
            Self::Base { model, .. } | Self::User { model, .. } => model,
        }
    }

    /// The user.
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::Base { .. } => None,
            Self::User { user, .. } => Some(user),
        }
    }

    /// The name of this model on the wire: the base's, or `BASE:USER`.
    pub fn name(&self) -> String {
        match self {
            Self::Base { model, .. } => model.clone(),
            Self::User { model, user } => format!("{model}:{user}"),
        }
    }
}

/// What is to be gone on with.
#[derive(Debug, Clone, PartialEq)]
pub enum Prompt {
    /// A conversation, oldest turn first; never empty. Laid out by the model's chat template.
    Chat(Vec<ChatTurn>),
    /// A text, as it is.
    Text(String),
    /// Token ids, as they are.
    Tokens(Vec<u32>),
}

/// Who speaks in a turn of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// `system`, and `developer`, which took its place.
    System,
    /// `user`.
    User,
    /// `assistant`.
    Assistant,
}

/// A turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatTurn {
    /// Who speaks.
    pub role: Role,
    /// What is said; the parts of a list of texts one after the other.
    pub text: String,
}

/// How tokens are chosen; what is `None` is as the settings of the state say.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Sampling {
    /// From 0 (the likeliest token) to 2.
    pub temperature: Option<f64>,
    /// Above 0, at most 1.
    pub top_p: Option<f64>,
    /// At least 1.
    pub top_k: Option<u32>,
    /// From 0 to 1.
    pub min_p: Option<f64>,
    /// From -2 to 2, by how often a token was written.
    pub frequency_penalty: Option<f64>,
    /// From -2 to 2, for tokens that were written.
    pub presence_penalty: Option<f64>,
    /// Above 0; 1 changes nothing.
    pub repetition_penalty: Option<f64>,
    /// Equal seeds give equal texts. With `n` above 1 the choices draw from different streams of
    /// one seed, and the first one is that of `n` = 1.
    pub seed: Option<i64>,
}

/// A request for one or more continuations of one prompt.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct CompletionRequest {
    /// The id that the client will know the answer by, unique; of a request with several prompts
    /// the second has `.1` appended, and so on.
    pub response_id: String,
    /// Who asks, for fairness among keys; empty where there are no keys.
    pub key: String,
    /// Whose model answers.
    pub target: Target,
    /// What it goes on with.
    pub prompt: Prompt,
    /// How many continuations: 1 to the server's limit.
    pub n: u32,
    /// The most new tokens of each; `None`: as the settings and the context allow. At least 1.
    pub max_tokens: Option<u32>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Texts before which an answer ends, none empty; they are not part of it. An empty list
    /// leaves those of the settings.
    pub stop: Vec<String>,
    /// Log-probabilities are wanted, and those of this many of the likeliest tokens beside each
    /// (0 to 20).
    pub logprobs: Option<u32>,
    /// Where each token came from is wanted ([`AnswerToken::retrieval_share`]), and
    /// [`AnswerEvent::Done`] with [`AnswerDetail`].
    pub trace: bool,
    /// Whether the conversation may be kept as an interaction. It is kept only if the user has
    /// consented, too, and never for [`Target::Base`].
    pub keep: bool,
}

/// An answer that was admitted: what is known of it before its first token, and its events.
///
/// Dropping it cancels the work, wherever it is: in the queue, in prefill, in decoding.
#[derive(Debug)]
pub struct Answer {
    /// Tokens of the prompt; of retrieved texts too, if there is already a decision on them.
    pub prompt_tokens: u32,
    /// The adapter's generation that answers; 0 for the base.
    pub generation: u32,
    /// What must be equal for an equal seed to give an equal text: build, base, kernels,
    /// generation. On the wire it is `system_fingerprint`.
    pub fingerprint: String,
    /// What happens.
    pub events: AnswerEvents,
}

/// What happens to an answer, in this order: one [`Started`](Self::Started); then for every choice
/// [`Delta`](Self::Delta)s and one [`Finished`](Self::Finished), choices in any order; then one
/// [`Done`](Self::Done). In place of any of them one [`Failed`](Self::Failed), which is the last.
#[derive(Debug, Clone, PartialEq)]
pub enum AnswerEvent {
    /// It left the queue; prefill begins.
    Started,
    /// A token or more of a choice.
    Delta {
        /// The choice, from 0.
        index: u32,
        /// Text that is certain now: whole characters, and nothing that may become a stop string.
        /// It may be empty. The texts of a choice, one after the other, are the whole text.
        text: String,
        /// How many tokens were written.
        count: u32,
        /// They, if log-probabilities or a trace were asked for; else empty. Those of a stop
        /// string are left out.
        tokens: Vec<AnswerToken>,
    },
    /// A choice has ended.
    Finished {
        /// The choice, from 0.
        index: u32,
        /// Why.
        reason: FinishReason,
    },
    /// All choices have ended, and what is to be kept of the answer is kept.
    Done {
        /// What it took.
        usage: Usage,
        /// How it came about, if a trace was asked for.
        detail: Option<AnswerDetail>,
    },
    /// It cannot go on.
    Failed(ServiceError),
}

/// Why a choice has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model ended it, or a stop string came.
    Stop,
    /// The most tokens were reached.
    Length,
}

/// A token of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct AnswerToken {
    /// Its id.
    pub id: u32,
    /// The bytes it stands for; it may be a part of a character.
    pub bytes: Vec<u8>,
    /// Its log-probability in nats under the mixed distribution, before temperature.
    pub logprob: f32,
    /// The likeliest tokens, as many as were asked for, likeliest first.
    pub top: Vec<TopToken>,
    /// Share of its probability that came from retrieved texts, 0 to 1; `None` when the gate was
    /// closed.
    pub retrieval_share: Option<f32>,
}

/// A token that could have been chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct TopToken {
    /// The bytes it stands for.
    pub bytes: Vec<u8>,
    /// Its log-probability, nats.
    pub logprob: f32,
}

/// Tokens of an answer, over all its choices.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of the prompt.
    pub prompt_tokens: u32,
    /// Of the prompt, taken from a cache.
    pub cached_tokens: u32,
    /// Written.
    pub completion_tokens: u32,
}

/// How an answer came about.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AnswerDetail {
    /// The adapter's generation; 0 for the base.
    pub generation: u32,
    /// The gate's decision; `None` where it was not asked, as for the base.
    pub gate: Option<GateDetail>,
    /// Weight of the retrieval branch, the mean over the tokens, 0 to 1; `None` when the gate was
    /// closed.
    pub lambda: Option<f64>,
    /// What was found, best first.
    pub retrieved: Vec<RetrievedDetail>,
}

/// A gate's decision.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GateDetail {
    /// Whether it let retrieved texts in.
    pub open: bool,
    /// Why, in words.
    pub reason: String,
}

/// A text that was found for a prompt.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RetrievedDetail {
    /// The interaction's id.
    pub id: String,
    /// Its score under the retriever.
    pub score: f64,
    /// Whether the gate let it into the prompt.
    pub used: bool,
}

/// A channel for the events of an answer, which holds at most `capacity` of them.
///
/// A reader may be slow: give room for all events of an answer (two for each token of each choice,
/// and four more), or hold the row back while [`AnswerSink::is_full`].
pub fn answer_channel(capacity: usize) -> (AnswerSink, AnswerEvents) {
    let (sender, receiver) = mpsc::channel(capacity.max(1));
    let cancelled = Arc::new(AtomicBool::new(false));
    let cancel = CancelHandle { cancelled };
    (AnswerSink { sender, cancel: cancel.clone() }, AnswerEvents { receiver, cancel })
}

/// Where an engine puts the events of an answer. No call of it blocks.
#[derive(Debug, Clone)]
pub struct AnswerSink {
    sender: mpsc::Sender<AnswerEvent>,
    cancel: CancelHandle,
}

impl AnswerSink {
    /// Puts an event.
    ///
    /// # Errors
    ///
    /// [`SinkError::Full`] with the event, if there is no room now; [`SinkError::Cancelled`] if
    /// nobody waits for it any more.
    pub fn send(&self, event: AnswerEvent) -> Result<(), SinkError> {
        if self.is_cancelled() {
            return Err(SinkError::Cancelled);
        }
        self.sender.try_send(event).map_err(|error| match error {
            TrySendError::Full(event) => SinkError::Full(Box::new(event)),
            TrySendError::Closed(_) => SinkError::Cancelled,
        })
    }

    /// Whether the client went or the server cut the answer: the work is to be dropped. Ask before
    /// every step, between the chunks of a prefill, and of what waits in the queue.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled() || self.sender.is_closed()
    }

    /// Whether there is no room for another event.
    pub fn is_full(&self) -> bool {
        self.sender.capacity() == 0
    }
}

/// Why an event was not taken.
#[derive(Debug, Clone, PartialEq)]
pub enum SinkError {
    /// There is no room now.
    Full(Box<AnswerEvent>),
    /// Nobody waits for it.
    Cancelled,
}

/// The events of an answer, as the server takes them. Dropping it cancels the answer.
#[derive(Debug)]
pub struct AnswerEvents {
    receiver: mpsc::Receiver<AnswerEvent>,
    cancel: CancelHandle,
}

impl AnswerEvents {
    /// The next event; `None` once the engine has dropped its sink.
    pub async fn next(&mut self) -> Option<AnswerEvent> {
        self.receiver.recv().await
    }

    /// The next event for a task that waits for several things at once.
    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<AnswerEvent>> {
        self.receiver.poll_recv(context)
    }

    /// The next event for a thread that may block, outside any asynchronous runtime.
    pub fn blocking_next(&mut self) -> Option<AnswerEvent> {
        self.receiver.blocking_recv()
    }

    /// Cancels the answer from elsewhere.
    pub fn cancel_handle(&self) -> CancelHandle {
        self.cancel.clone()
    }
}

impl Drop for AnswerEvents {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// Cancels an answer.
#[derive(Debug, Clone)]
pub struct CancelHandle {
    cancelled: Arc<AtomicBool>,
}

impl CancelHandle {
    /// Asks the engine to drop the work.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
    }

    /// Whether that was asked.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }
}
