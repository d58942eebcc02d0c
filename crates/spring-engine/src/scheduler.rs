//! The thread that owns the batch.
//!
//! Each round, it takes in what came and waits for nothing, reads one part of one context, and
//! writes one token of every text that can have one. So a long prompt costs the others one part of
//! it for each of their tokens, whatever its length, and nobody waits for a batch to end.

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use spring_core::{
    LanguageModel,
    spring_lm::{RowId, Session},
};

use crate::{
    Dropped, EngineConfig, Event, Failure,
    prefixes::{Owner, Prefixes},
    running::Running,
    shared::{Inbox, Shared, Waiting},
};

/// How often it is looked whether a reader has made room, while there is nothing else to do.
const LOOK: Duration = Duration::from_millis(5);

/// The batch and who is in it.
pub(crate) struct Scheduler {
    model: Arc<dyn LanguageModel>,
    session: Box<dyn Session>,
    prefixes: Prefixes,
    shared: Arc<Shared>,
    rows: usize,
    tokens: usize,
    reader: Duration,
    running: Vec<Running>,
    /// Where it is looked first for a context to read.
    next_reader: usize,
}

impl Scheduler {
    pub(crate) fn new(
        model: Arc<dyn LanguageModel>,
        session: Box<dyn Session>,
        shared: Arc<Shared>,
        config: &EngineConfig,
    ) -> Self {
        Self {
            model,
            session,
            prefixes: Prefixes::new(config.prefixes),
            shared,
            rows: config.rows,
            tokens: config.tokens,
            reader: config.reader,
            running: Vec::new(),
            next_reader: 0,
        }
    }

    /// Works until it is told to end, or cannot go on; whoever still waits is told.
    pub(crate) fn run(mut self) {
        let rounds = catch_unwind(AssertUnwindSafe(|| while self.round() {}));
        if rounds.is_err() {
            tracing::error!("the engine ended by a bug, as said above; the program must restart");
        }
        let waiting = {
            let mut inbox = self.shared.inbox();
            inbox.ended = true;
            inbox.removals.clear();
            inbox.queue.take_unless(|_| false)
        };
        for mut waiting in waiting {
            let _ = waiting.sink.send(Event::Failed(Failure::Ended));
        }
        for running in &mut self.running {
            running.fail(Failure::Ended, &mut *self.session);
        }
        self.running.clear();
        self.tell_stats();
        self.shared.activity.set_busy(false);
    }

    /// One round; false once all is done and the engine is to end.
    fn round(&mut self) -> bool {
        self.let_go();
        if !self.take_in() {
            return false;
        }
        self.read();
        self.write();
        true
    }

    /// Takes in what fits into the batch, and waits while there is nothing to do.
    fn take_in(&mut self) -> bool {
        let shared = self.shared.clone();
        let mut inbox = shared.inbox();
        loop {
            let gone = inbox.queue.take_unless(|waiting| !waiting.sink.is_gone());
            shared.counters.lock().stats.cancelled += gone.len() as u64;
            drop(gone);
            for user in std::mem::take(&mut inbox.renewed) {
                self.prefixes.forget(&Owner::User(user));
            }
            self.remove_users(&mut inbox);
            if inbox.drain.is_some_and(|until| Instant::now() >= until) {
                drop(inbox);
                self.cut_all();
                return false;
            }
            while let Some(next) = inbox.queue.peek() {
                if !self.fits(next) {
                    break;
                }
                let Some(next) = inbox.queue.pop() else { break };
                let (session, prefixes) = (&mut *self.session, &mut self.prefixes);
                let running = Running::begin(next, session, prefixes, &shared.counters);
                self.running.push(running);
            }
            self.tell_stats();
            let has_work = self.running.iter().any(|r| r.is_reading() || r.is_writing());
            if has_work {
                return true;
            }
            let wait = if !self.running.is_empty() {
                // All wait for their readers.
                LOOK
            } else if inbox.drain.is_some() {
                return false;
            } else {
                shared.activity.set_busy(false);
                shared.counters.lock().idle();
                Duration::from_secs(1)
            };
            let wake = shared.wake.wait_timeout(inbox, wait);
            inbox = wake.unwrap_or_else(PoisonError::into_inner).0;
            if !self.running.is_empty() {
                drop(inbox);
                self.let_go();
                inbox = shared.inbox();
            }
        }
    }

    /// Whether a request fits into what is free. The next one in turn waits until it does, and
    /// nobody overtakes it: it would wait for ever.
    fn fits(&self, waiting: &Waiting) -> bool {
        let rows: usize = self.running.iter().map(Running::rows).sum();
        let tokens: usize = self.running.iter().map(Running::tokens).sum();
        self.running.is_empty()
            || (rows + waiting.rows() <= self.rows && tokens + waiting.tokens() <= self.tokens)
    }

    /// Ends the requests of users who are being removed.
    fn remove_users(&mut self, inbox: &mut Inbox) {
        for (user, told) in std::mem::take(&mut inbox.removals) {
            let failure = || Failure::Removed(user.clone());
            let mut dropped = Dropped::default();
            for mut waiting in inbox.queue.take_unless(|w| w.user.as_ref() != Some(&user)) {
                let _ = waiting.sink.send(Event::Failed(failure()));
                dropped.requests += 1;
            }
            for running in self.running.iter_mut().filter(|running| running.is_of(&user)) {
                running.fail(failure(), &mut *self.session);
                dropped.requests += 1;
            }
            dropped.prefixes = self.prefixes.forget_user(&user);
            // Whoever asked may have gone.
            let _ = told.send(dropped);
        }
    }

    /// Takes out what has ended, whose reader is gone, or whose reader has waited too long.
    fn let_go(&mut self) {
        let (session, counters) = (&mut *self.session, &self.shared.counters);
        for running in &mut self.running {
            running.flush();
            if running.is_gone() && !running.is_finished() {
                running.leave(session);
                counters.lock().stats.cancelled += 1;
            } else if running.held_for() > self.reader {
                running.fail(Failure::Unread(self.reader), session);
                counters.lock().stats.cancelled += 1;
            }
        }
        let reader = self.reader;
        self.running.retain(|running| {
            let stays =
                !running.is_finished() && !running.is_gone() && running.held_for() <= reader;
            // Those that nobody read are counted already.
            if !stays && running.is_failed() && running.held_for() <= reader {
                counters.lock().stats.failed += 1;
            }
            stays
        });
    }

    /// Reads one part of one context; requests take turns.
    fn read(&mut self) {
        let count = self.running.len();
        let turns = (0..count).map(|i| (self.next_reader + i) % count);
        let Some(at) = turns.into_iter().find(|i| self.running[*i].is_reading()) else { return };
        self.next_reader = at + 1;
        let (session, counters) = (&mut *self.session, &self.shared.counters);
        self.running[at].read_on(session, &mut self.prefixes, counters);
    }

    /// Writes one token of every text that can have one.
    fn write(&mut self) {
        let Self { model, session, shared, running, .. } = self;
        let mut tokens: Vec<(RowId, u32)> = Vec::new();
        for running in running.iter_mut() {
            running.choose(&**model, &mut **session, &shared.counters, &mut tokens);
        }
        if tokens.is_empty() {
            return;
        }
        shared.counters.lock().stats.steps += 1;
        if session.step(&tokens).is_ok() {
            return;
        }
        // No row has moved: each request by itself shows whose rows they are that cannot.
        for running in running.iter_mut() {
            let own: Vec<(RowId, u32)> =
                running.next_tokens().into_iter().filter(|next| tokens.contains(next)).collect();
            if own.is_empty() {
                continue;
            }
            if let Err(error) = session.step(&own) {
                running.fail(spring_core::Error::from(error).into(), &mut **session);
            }
        }
    }

    /// Ends everything where it is.
    fn cut_all(&mut self) {
        for running in &mut self.running {
            running.cut(&*self.model, &mut *self.session, &self.shared.counters);
        }
        // Readers that are there get the end, others do not hold up the program's.
        let until = Instant::now() + Duration::from_millis(500);
        while self.running.iter().any(|running| !running.is_finished() && !running.is_gone())
            && Instant::now() < until
        {
            std::thread::sleep(LOOK);
            self.running.iter_mut().for_each(Running::flush);
        }
        self.running.retain(|running| !running.is_finished());
    }

    fn tell_stats(&self) {
        let mut counted = self.shared.counters.lock();
        counted.stats.prefixes = self.prefixes.stats();
        counted.stats.running = self.running.len();
        let adapters = self.running.iter().filter_map(Running::adapter);
        counted.stats.running_adapters = adapters.collect::<BTreeSet<_>>().len();
        counted.stats.rows = self.running.iter().map(Running::rows).sum();
        counted.stats.tokens = [self.running.iter().map(Running::tokens).sum(), self.tokens];
    }
}
