//! The thread that writes down what was answered, so that the batch does not wait for the disk.

use std::{
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use spring_core::{
    Store, UserVersion,
    record::{AnswerRecord, Ending},
    spring_memory::{Interaction, InteractionId},
};
use spring_serve::{AnswerEvent, AnswerSink, SinkError};

/// What is to be kept of an answer, and what is said once it is.
pub struct Keep {
    pub version: UserVersion,
    pub records: Vec<AnswerRecord>,
    /// Whether the first text is kept as a conversation, if the user has consented.
    pub is_conversation: bool,
    pub sink: AnswerSink,
    pub done: AnswerEvent,
}

/// Takes what is to be kept. A clone gives to the same thread.
#[derive(Clone)]
pub struct Keeper(SyncSender<Keep>);

/// Answers that may wait for the disk.
const WAITING: usize = 1024;
/// How long a reader is given to take the end of an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(5);

impl Keeper {
    /// Starts the thread; it ends after the last keeper.
    ///
    /// # Errors
    ///
    /// If the system refuses it.
    pub fn start(store: Arc<Store>) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (sender, receiver) = mpsc::sync_channel(WAITING);
        let work = move || run(&store, &receiver);
        let thread = thread::Builder::new().name("keeper".into()).spawn(work)?;
        Ok((Self(sender), thread))
    }

    /// Gives an answer to the thread, which says that it is done.
    pub fn keep(&self, keep: Keep) {
        let keep = match self.0.try_send(keep) {
            Ok(()) => return,
            Err(TrySendError::Full(keep) | TrySendError::Disconnected(keep)) => keep,
        };
        tracing::warn!("the disk is too slow: an answer is not on record");
        let _ = keep.sink.send(keep.done);
    }
}

fn run(store: &Store, receiver: &Receiver<Keep>) {
    // Ends for which their readers have no room yet.
    let mut late: Vec<(AnswerSink, AnswerEvent, Instant)> = Vec::new();
    loop {
        let wait = if late.is_empty() { Duration::from_secs(3600) } else { LOOK };
        match receiver.recv_timeout(wait) {
            Ok(Keep { version, records, is_conversation, sink, done }) => {
                for record in &records {
                    if let Err(error) = store.record_answer(&version, record) {
                        tracing::warn!("an answer is not on record: {error}");
                    }
                }
                let said = records.first().filter(|_| is_conversation);
                if let Some(said) = said.and_then(|said| conversation(&version, said))
                    && let Err(error) = store.keep_conversation(&version, &said)
                {
                    tracing::warn!("a conversation is not kept: {error}");
                }
                late.push((sink, done, Instant::now()));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) if late.is_empty() => return,
            Err(RecvTimeoutError::Disconnected) => thread::sleep(LOOK),
        }
        late = late.into_iter().filter_map(give).collect();
    }
}

/// What was asked and answered as an interaction, under the answer's own id, so that what the
/// person really used takes its place. Nothing of an answer that was cut off or is empty.
fn conversation(version: &UserVersion, record: &AnswerRecord) -> Option<Interaction> {
    if record.ended == Ending::Stopped || record.text.trim().is_empty() {
        return None;
    }
    let id = InteractionId::new(record.id.as_deref()?).ok()?;
    let (user, prompt, text) = (version.user().clone(), &record.prompt, &record.text);
    Some(Interaction::new(user, id, record.time, prompt.clone(), text.clone()))
}

/// Says that an answer is done; gives it back if there is no room yet.
fn give(
    (sink, done, since): (AnswerSink, AnswerEvent, Instant),
) -> Option<(AnswerSink, AnswerEvent, Instant)> {
    match sink.send(done) {
        Err(SinkError::Full(done)) if since.elapsed() < PATIENCE => Some((sink, *done, since)),
        _ => None,
    }
}
