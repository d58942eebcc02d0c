//! What happens to a request, and where it is told.

use std::sync::{
    Arc, Weak,
    mpsc::{self, Receiver, SyncSender, TrySendError},
};

use spring_core::{
    Likely, UserVersion,
    record::{AnswerRecord, RetrievedText, TokenTrace},
    spring_fuse::GateDecision,
};

use crate::Failure;

/// What is known of a request when it is taken.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Receipt {
    /// Tokens of the prompt, without those of retrieved texts.
    pub prompt_tokens: usize,
    /// Tokens that are read for each text: the prompt once for each branch, and retrieved texts.
    pub read_tokens: usize,
    /// Tokens of the prompt whose keys and values were kept from an earlier request. Known once it
    /// has left the queue, and 0 before.
    pub cached_tokens: usize,
    /// The state that the person's model is of; `None` for the base. An answer is recorded under
    /// it.
    pub version: Option<UserVersion>,
    /// The generation that answers; 0 for the base.
    pub generation: u32,
    /// How the gate decided.
    pub gate: GateDecision,
    /// What was found, best first.
    pub retrieved: Vec<RetrievedText>,
}

/// What happens to a request: `Started`, then `Text` and one `Ended` for each of its texts, whose
/// events may be mixed, then `Done`; or `Failed` in place of any of them, and nothing after it.
#[derive(Debug)]
pub enum Event {
    /// It has left the queue; this is what was known of it when it was taken.
    Started(Box<Receipt>),
    /// A text goes on.
    Text {
        /// Which of the request's texts, from 0.
        choice: usize,
        /// What is certain of it now; see [`TextStep`](spring_core::TextStep).
        text: String,
        /// The token that was chosen; `None` for what was held back at the end.
        token: Option<u32>,
        /// How likely it was, if the request asked for that.
        likely: Option<Likely>,
        /// Where its probability came from; `None` when the gate is closed.
        trace: Option<TokenTrace>,
    },
    /// A text has ended.
    Ended {
        /// Which of the request's texts, from 0.
        choice: usize,
        /// Its tokens, without an end token.
        tokens: usize,
        /// How it came about.
        record: Box<AnswerRecord>,
    },
    /// All texts have ended.
    Done,
    /// It cannot go on.
    Failed(Failure),
}

/// Where the events of one request go. No call may block: the batch waits for it.
pub trait Sink: Send {
    /// Takes an event, or gives it back while there is no room: the request then waits, for as long
    /// as [`EngineConfig::reader`](crate::EngineConfig::reader) says.
    ///
    /// # Errors
    ///
    /// The event itself, if there is no room. What goes to a reader that is gone is taken.
    fn send(&mut self, event: Event) -> Result<(), Event>;

    /// Whether nobody reads the events any more: the request is then dropped, wherever it is.
    fn is_gone(&self) -> bool;
}

/// Events of one request, for a thread that waits for them. When it is dropped, the request is.
#[derive(Debug)]
pub struct Events {
    receiver: Receiver<Event>,
    _alive: Arc<()>,
}

impl Iterator for Events {
    type Item = Event;

    /// Waits for the next event; `None` after the last.
    fn next(&mut self) -> Option<Event> {
        self.receiver.recv().ok()
    }
}

/// The sink of [`Events`].
#[derive(Debug)]
struct Channel {
    sender: SyncSender<Event>,
    reader: Weak<()>,
}

impl Sink for Channel {
    fn send(&mut self, event: Event) -> Result<(), Event> {
        match self.sender.try_send(event) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => Ok(()),
            Err(TrySendError::Full(event)) => Err(event),
        }
    }

    fn is_gone(&self) -> bool {
        self.reader.strong_count() == 0
    }
}

/// A sink, and the events that come out of it; at most `capacity` lie between.
pub fn channel(capacity: usize) -> (Box<dyn Sink>, Events) {
    let (sender, receiver) = mpsc::sync_channel(capacity.max(1));
    let alive = Arc::new(());
    let sink = Channel { sender, reader: Arc::downgrade(&alive) };
    (Box::new(sink), Events { receiver, _alive: alive })
}
