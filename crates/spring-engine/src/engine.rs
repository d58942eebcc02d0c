//! The engine as its callers see it.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use spring_core::{LanguageModel, Store, check_base, spring_memory::UserId};

use crate::{
    Adaptation, Asker, Dropped, EngineConfig, Receipt, Refusal, Request, Sink, Stats,
    learning::{Board, Learner},
    people::{People, Person},
    prefixes::{Owner, Reader},
    queue::Places,
    scheduler::Scheduler,
    shared::{Shared, Waiting},
};

/// Answers requests in one batch, and learns meanwhile.
///
/// Dropping it ends it at once, with what it is doing; [`drain`](Self::drain) lets that end first.
pub struct Engine {
    model: Arc<dyn LanguageModel>,
    store: Arc<Store>,
    config: EngineConfig,
    shared: Arc<Shared>,
    people: Arc<People>,
    board: Arc<Board>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Engine {
    /// Starts the threads of an engine.
    ///
    /// # Errors
    ///
    /// [`Error::OtherBase`](spring_core::Error::OtherBase) if the state is of another model, or if
    /// the model cannot decode, or the system refuses the threads.
    pub fn start(
        model: Arc<dyn LanguageModel>,
        store: Arc<Store>,
        config: EngineConfig,
    ) -> spring_core::Result<Self> {
        check_base(&*model, &store)?;
        let session = model.session()?;
        let places = Places::new(config.waiting, config.waiting_per_key);
        let shared = Arc::new(Shared::new(places));
        let people = Arc::new(People::new(model.clone(), store.clone(), config.cache)?);
        let board = Arc::new(Board::default());
        let scheduler = Scheduler::new(model.clone(), session, shared.clone(), &config);
        let learner = Learner {
            model: model.clone(),
            store: store.clone(),
            people: people.clone(),
            shared: shared.clone(),
            board: board.clone(),
            policy: config.learning,
            judge: config.judge.clone(),
        };
        let engine =
            Self { model, store, config, shared, people, board, threads: Mutex::default() };
        engine.spawn("batch", move || scheduler.run())?;
        engine.spawn("learner", move || learner.run())?;
        Ok(engine)
    }

    fn spawn(&self, name: &str, work: impl FnOnce() + Send + 'static) -> spring_core::Result<()> {
        let thread = thread::Builder::new().name(name.into()).spawn(work);
        let thread = thread.map_err(|source| spring_core::Error::Io {
            path: format!("the thread \"{name}\"").into(),
            source,
        })?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(())
    }

    /// The base model.
    pub fn model(&self) -> &Arc<dyn LanguageModel> {
        &self.model
    }

    /// The state.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Takes a request: finds the person's model, asks the gate, lays out the contexts, and puts it
    /// into the queue. It does this on the caller's thread, and does not wait for the batch.
    ///
    /// # Errors
    ///
    /// Why it is not taken. The sink gets no event then.
    pub fn submit(&self, request: Request, sink: Box<dyn Sink>) -> Result<Receipt, Refusal> {
        let most = self.config.choices;
        if !(1..=most).contains(&request.choices) {
            return Err(Refusal::Choices { choices: request.choices, most });
        }
        let queued = Instant::now();
        self.check_open()?;
        let place = self.shared.places.take(&request.key).map_err(|(whose, waiting)| {
            let mut counted = self.shared.counters.lock();
            counted.stats.refused += 1;
            Refusal::Full { whose, waiting, retry_after: counted.wait_behind(waiting) }
        })?;
        let user = request.user.clone();
        let owner = self.owner(&request);
        let reader = Reader { owner, version: None, adapter: None };
        let mut waiting =
            Waiting { sink, texts: vec![], receipt: None, user, reader, queued, place };
        let receipt = loop {
            let removed = self.shared.inbox().removed;
            let receipt = self.make_ready(&request, &mut waiting)?;
            waiting.receipt = Some(Box::new(receipt.clone()));
            let mut inbox = self.shared.inbox();
            if inbox.ended {
                return Err(Refusal::Ended);
            }
            if inbox.drain.is_some() {
                return Err(Refusal::Draining);
            }
            // What was made ready of somebody who was removed meanwhile must not get in behind the
            // removal.
            if inbox.removed == removed || waiting.user.is_none() {
                inbox.queue.push(request.key, waiting);
                self.shared.activity.set_busy(true);
                break receipt;
            }
        };
        self.shared.counters.lock().stats.requests += 1;
        self.shared.wake.notify_one();
        Ok(receipt)
    }

    /// Whose beginnings a request may find.
    fn owner(&self, request: &Request) -> Owner {
        let key = request.key.clone();
        match (&request.user, &request.person) {
            (Some(user), _) => Owner::User(user.clone()),
            (None, Some(name)) => {
                // The state is asked only where something is kept at all. One that cannot be read
                // makes nobody one with another.
                let known = UserId::new(name.clone())
                    .ok()
                    .filter(|user| self.config.prefixes > 0 && self.store.version(user).is_ok());
                known.map_or_else(|| Owner::Stranger { key, name: name.clone() }, Owner::Known)
            }
            (None, None) => Owner::Key(key),
        }
    }

    /// Finds the person's model and lays out the texts of a request.
    fn make_ready(&self, request: &Request, waiting: &mut Waiting) -> Result<Receipt, Refusal> {
        match &request.user {
            None => waiting.texts = request.texts(self.people.base())?,
            Some(user) => {
                let person = self.people.get(user)?;
                waiting.texts = request.texts(&person.model)?;
                waiting.reader.version = Some(person.version.clone());
                waiting.reader.adapter = person.adapter;
            }
        }
        let EngineConfig { choices: most, rows: most_rows, tokens: most_tokens, .. } = self.config;
        let (rows, tokens) = (waiting.rows(), waiting.tokens());
        if rows > most_rows || tokens > most_tokens {
            return Err(Refusal::TooLarge { tokens, rows, most_tokens, most_rows });
        }
        let first = waiting.texts.first().ok_or(Refusal::Choices { choices: 0, most })?;
        Ok(Receipt {
            prompt_tokens: first.plain_tokens(),
            read_tokens: first.prompt_tokens(),
            cached_tokens: 0,
            version: waiting.reader.version.clone(),
            generation: first.generation(),
            gate: first.gate().clone(),
            retrieved: first.retrieved().to_vec(),
        })
    }

    fn check_open(&self) -> Result<(), Refusal> {
        let inbox = self.shared.inbox();
        match (inbox.ended, inbox.drain) {
            (true, _) => Err(Refusal::Ended),
            (_, Some(_)) => Err(Refusal::Draining),
            _ => Ok(()),
        }
    }

    /// Most rows in the batch, and with it most adapters at once.
    pub fn rows(&self) -> usize {
        self.config.rows
    }

    /// Whether requests are taken.
    pub fn is_ready(&self) -> bool {
        self.check_open().is_ok()
    }

    /// A person's model as it answers now.
    ///
    /// # Errors
    ///
    /// If there is no such user, or what is stored of them cannot be read.
    pub fn person(&self, user: &UserId) -> spring_core::Result<Arc<Person>> {
        self.people.get(user)
    }

    /// Keeps a person's model ready, whatever the budget, until it is unpinned as often.
    pub fn pin(&self, user: &UserId) {
        self.people.pin(user);
    }

    /// Ends what [`pin`](Self::pin) began.
    pub fn unpin(&self, user: &UserId) {
        self.people.unpin(user);
    }

    /// Asks for an adaptation of a user, and does not wait for it; one that waits or runs is that
    /// one.
    ///
    /// # Errors
    ///
    /// If there is no such user.
    pub fn adapt(&self, user: &UserId) -> spring_core::Result<Adaptation> {
        self.adapt_for(user, None)
    }

    /// The same as the work of whoever asked for it; of the one that waits or runs it stays the
    /// work of whoever asked first.
    ///
    /// # Errors
    ///
    /// If there is no such user.
    pub fn adapt_for(
        &self,
        user: &UserId,
        asker: Option<Asker>,
    ) -> spring_core::Result<Adaptation> {
        self.store.version(user)?;
        Ok(self.board.ask(user, true, asker))
    }

    /// Whose work a user's adaptation is that waits or runs: for asking again for one that had to
    /// be stopped.
    pub fn asker(&self, user: &UserId) -> Option<Asker> {
        self.board.asker(user)
    }

    /// Stops a user's adaptation at its next step, and waits for that: what a person wants now,
    /// such as to have a text forgotten, does not wait for the end of a training. What was
    /// committed stays. Gives the adaptation as it was; `None` if none runs.
    pub fn stop_adapting(&self, user: &UserId) -> Option<Adaptation> {
        self.board.stop(user)
    }

    /// The adaptations since the start, latest first: of all, or of one user. Of those that have
    /// ended the latest thousand are kept.
    pub fn adaptations(&self, user: Option<&UserId>) -> Vec<Adaptation> {
        self.board.list(user)
    }

    /// Lets go of everything of a user that is in memory: ends the answers that wait or are being
    /// written, stops an adaptation, and forgets the person's model and what their contexts began
    /// with. Call it once the user, or a text of theirs, is removed from the state. Returns what
    /// there was.
    pub fn forget(&self, user: &UserId) -> Dropped {
        self.board.forget(user);
        let (told, dropped) = mpsc::sync_channel(1);
        {
            let mut inbox = self.shared.inbox();
            inbox.removed += 1;
            match inbox.ended {
                false => inbox.removals.push((user.clone(), told)),
                true => drop(told),
            }
        }
        self.shared.wake.notify_one();
        // Nobody tells where the scheduler has ended, and with it all requests.
        let mut dropped: Dropped = dropped.recv().unwrap_or_default();
        dropped.models = usize::from(self.people.forget(user));
        dropped
    }

    /// What it has done and is doing.
    pub fn stats(&self) -> Stats {
        let mut stats = self.shared.counters.lock().stats.clone();
        stats.waiting = self.shared.places.taken();
        stats.cache = self.people.stats();
        let inbox = self.shared.inbox();
        let adapters =
            inbox.queue.iter().filter_map(|w| Some(w.reader.adapter.as_ref()?.as_bytes()));
        stats.waiting_adapters = adapters.collect::<BTreeSet<_>>().len();
        stats
    }

    /// Ends the engine: no more requests are taken, what was taken ends within `limit` or is cut
    /// off there, and an adaptation stops at its next step. Returns when all of that is done.
    pub fn drain(&self, limit: Duration) {
        {
            let until = Instant::now() + limit;
            let mut inbox = self.shared.inbox();
            inbox.drain = Some(inbox.drain.map_or(until, |earlier| earlier.min(until)));
        }
        self.shared.wake.notify_one();
        self.board.end();
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A panic is told where it happens.
            let _ = thread.join();
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.drain(Duration::ZERO);
    }
}
