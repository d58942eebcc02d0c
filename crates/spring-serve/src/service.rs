//! What the server serves: a trait that an engine implements.

mod access;
mod answer;
mod asker;
mod error;
mod person;
mod replicas;
mod stats;

use std::{io::Read, sync::Arc};

pub use access::{Access, AuditEvent, Key, KeyHash, new_key};
pub use answer::{
    Answer, AnswerDetail, AnswerEvent, AnswerEvents, AnswerSink, AnswerToken, CancelHandle,
    ChatTurn, CompletionRequest, FinishReason, GateDetail, Prompt, RetrievedDetail, Role, Sampling,
    SinkError, Target, TopToken, Usage, answer_channel,
};
pub use asker::{Asker, Working};
pub use error::{ServiceError, ServiceResult};
pub use person::{
    Adaptation, Added, BufferText, Consent, EvictedText, ExplainedToken, Explanation, Export,
    Feedback, Found, GenerationInfo, Imported, InteractionInfo, JobState, NewInteraction, Page,
    PageRequest, PeriodInfo, PeriodText, Receipt, Removed, RolledBack, Saying, UserInfo,
};
pub use replicas::{AddressError, Choice, Replica, Replicas, advertised};
pub use stats::{EmbeddingRequest, Embeddings, Model, Readiness, Stats, Tokens};

/// A language model that serves many people, with what it learned of each.
///
/// Every call may block: the server makes it on a plain thread that belongs to no asynchronous
/// runtime, and makes calls of many clients at once. A call that panics is an internal error of
/// that request alone. When a client goes, a call that is running runs to its end (the server drops
/// what it gives), while an [`Answer`] is cancelled.
///
/// The server has checked who may name which user. A `user` is any text: what is no user's id is
/// [`ServiceError::UnknownUser`], or [`ServiceError::Invalid`] where a user would be made.
///
/// # Errors
///
/// [`ServiceError`], of all calls: each says what the client did wrong, or is
/// [`Internal`](ServiceError::Internal).
pub trait Service: Send + Sync + 'static {
    // ------------------------------------------------------------- of the whole

    /// Whether requests can be answered. Asked often; it must be quick and not block.
    fn readiness(&self) -> Readiness;

    /// What the engine says of itself. It must be quick.
    fn stats(&self) -> Stats;

    /// The base models, the default one first; never empty once it is ready. It must be quick.
    fn models(&self) -> Vec<Model>;

    /// The servers of this one's state that are ready; `None` where it does not know. Asked with
    /// every request: from memory, and quick.
    fn replicas(&self) -> Option<Arc<Replicas>> {
        None
    }

    /// The key whose token has this hash; `None` if there is none or it was revoked. What it says
    /// counts for a second.
    fn key(&self, hash: &KeyHash) -> ServiceResult<Option<Key>>;

    /// Whether there is any key: without one a server on loopback lets everybody in. Asked once a
    /// second until there is one, and not any more then.
    fn has_keys(&self) -> ServiceResult<bool>;

    /// An administrative act was done or refused. The server has written it to the log, under the
    /// target `spring_serve::audit`; this is for keeping it elsewhere, and may do nothing.
    fn audit(&self, event: &AuditEvent);

    // ------------------------------------------------------------- of the model

    /// Admits a request: checks it, finds the user's model, tokenises the prompt, puts it into the
    /// queue, and returns without waiting for its turn. Everything that is wrong with a request is
    /// said here, before the first byte of a stream.
    ///
    /// # Errors
    ///
    /// [`UnknownModel`](ServiceError::UnknownModel), [`UnknownUser`](ServiceError::UnknownUser),
    /// [`ContextLength`](ServiceError::ContextLength), [`Invalid`](ServiceError::Invalid),
    /// [`Unsupported`](ServiceError::Unsupported), [`SlowDown`](ServiceError::SlowDown),
    /// [`Overloaded`](ServiceError::Overloaded), [`NotReady`](ServiceError::NotReady).
    fn complete(&self, request: CompletionRequest) -> ServiceResult<Answer>;

    /// Embeddings of texts under a base.
    fn embed(&self, request: EmbeddingRequest) -> ServiceResult<Embeddings>;

    /// A prompt's tokens under a base; a conversation is laid out by the chat template first.
    /// `special`: whether a plain text gets the tokens that the model begins and ends with.
    fn tokenize(&self, model: &str, prompt: Prompt, special: bool) -> ServiceResult<Tokens>;

    /// The text of tokens under a base.
    fn detokenize(&self, model: &str, tokens: &[u32]) -> ServiceResult<String>;

    // ------------------------------------------------------------- of one person

    /// The users, in the order of their ids.
    fn users(&self, page: &PageRequest) -> ServiceResult<Page<UserInfo>>;

    /// One user.
    fn user(&self, user: &str) -> ServiceResult<UserInfo>;

    /// Makes a user, if there is none of this id. Returns whether it is new.
    fn create_user(&self, user: &str) -> ServiceResult<bool>;

    /// Removes a user from everywhere: history, buffers, adapters, records, embeddings, jobs,
    /// caches in memory, answers that are being written. When it returns, nothing of it is left.
    fn delete_user(&self, user: &str) -> ServiceResult<Receipt>;

    /// Keeps texts: all of them or, on an error, none. When it returns, they survive a crash. The
    /// user must be there.
    ///
    /// # Errors
    ///
    /// [`Conflict`](ServiceError::Conflict) for a known id with other content.
    fn add_interactions(&self, user: &str, texts: Vec<NewInteraction>) -> ServiceResult<Added>;

    /// The texts, latest first.
    fn interactions(&self, user: &str, page: &PageRequest) -> ServiceResult<Page<InteractionInfo>>;

    /// One text.
    fn interaction(&self, user: &str, id: &str) -> ServiceResult<InteractionInfo>;

    /// Forgets a text: generations that saw it are learned again without it. Blocks until that is
    /// done. One that is not there (any more) gives a receipt in which nothing was removed, so that
    /// a client can ask again after a lost answer.
    fn delete_interaction(&self, user: &str, id: &str) -> ServiceResult<Receipt>;

    /// Searches the history.
    fn search(&self, user: &str, query: &str, limit: usize) -> ServiceResult<Vec<Found>>;

    /// Starts an adaptation, and does not wait for it. If one of this user waits or runs, it is
    /// that one. While it runs it is the work of whoever asked for it first:
    /// [`works`](Asker::works) counts it.
    fn adapt(&self, user: &str, asker: Asker) -> ServiceResult<Adaptation>;

    /// The adaptations of a user since the start of the server, latest first.
    fn adaptations(&self, user: &str) -> ServiceResult<Vec<Adaptation>>;

    /// The generations, latest first.
    fn generations(&self, user: &str) -> ServiceResult<Vec<GenerationInfo>>;

    /// Goes back, or forth, to a generation that is kept; 0 is the base. Answers that began before
    /// end with the one they began with.
    fn rollback(&self, user: &str, to: u32) -> ServiceResult<RolledBack>;

    /// The learned periods on the path to the generation in use, oldest first.
    fn periods(&self, user: &str) -> ServiceResult<Vec<PeriodInfo>>;

    /// The residual buffer of the generation in use, best first.
    fn buffer(&self, user: &str) -> ServiceResult<Vec<BufferText>>;

    /// How an answer came about.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ServiceError::NotFound) if the answer is not one of this user's, too.
    fn explain(&self, user: &str, response_id: &str, choice: u32) -> ServiceResult<Explanation>;

    /// Keeps what the person really used of an answer, as an interaction with the answer's prompt.
    /// The same again changes nothing; another text for the same answer takes the place of the
    /// first while it has not been learned.
    fn feedback(&self, user: &str, feedback: Feedback) -> ServiceResult<Added>;

    /// What the person has agreed to.
    fn consent(&self, user: &str) -> ServiceResult<Consent>;

    /// Changes what the person has agreed to; gives all of it.
    fn set_consent(&self, user: &str, saying: Saying) -> ServiceResult<Consent>;

    /// Everything of a user. What fails does so here rather than in the reading, as far as it can.
    fn export(&self, user: &str) -> ServiceResult<Export>;

    /// Takes in what [`export`](Self::export) gave, of any server with this base. The user must not
    /// have any texts or answers yet. All of it or nothing: `bytes` fails where the client went.
    fn import(&self, user: &str, bytes: &mut dyn Read) -> ServiceResult<Imported>;
}
