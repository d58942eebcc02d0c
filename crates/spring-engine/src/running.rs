//! A request in the batch.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use spring_core::{
    LanguageModel, TextGeneration,
    spring_lm::{RowId, Session},
    spring_memory::UserId,
};

use crate::{
    Event, Failure, Sink,
    prefixes::{Prefixes, Reader, Reading},
    shared::Waiting,
    stats::{Counters, Time},
};

/// A request that has left the queue.
pub(crate) struct Running {
    sink: Box<dyn Sink>,
    /// Events that the sink has no room for.
    outbox: VecDeque<Event>,
    /// Since when there are any.
    held: Option<Instant>,
    texts: Vec<Text>,
    reader: Reader,
    user: Option<UserId>,
    rows: usize,
    tokens: usize,
    queued: Instant,
    admitted: Instant,
    first_token: Option<Instant>,
    /// Failed, or told that it is done.
    is_over: bool,
    is_failed: bool,
}

/// One of its texts.
struct Text {
    /// `None` once it has ended.
    generation: Option<TextGeneration>,
    is_reading: bool,
    /// What is read, once it has begun; the texts behind the first begin when that has read.
    reading: Option<Reading>,
    last_token: Option<Instant>,
}

impl Running {
    /// Puts a request into the batch; what it waits for is then to be read.
    pub(crate) fn begin(
        waiting: Waiting,
        session: &mut dyn Session,
        prefixes: &mut Prefixes,
        counters: &Counters,
    ) -> Self {
        let (rows, tokens, now) = (waiting.rows(), waiting.tokens(), Instant::now());
        let Waiting { sink, texts, mut receipt, user, reader, queued, place } = waiting;
        drop(place);
        counters.lock().add(Time::Queue, now - queued);
        let text = |generation| Text {
            generation: Some(generation),
            is_reading: true,
            reading: None,
            last_token: None,
        };
        let mut texts: Vec<Text> = texts.into_iter().map(text).collect();
        let begun = texts.first_mut().map(|text| text.begin(&reader, session, prefixes));
        if let (Some(receipt), Some(Ok(cached))) = (&mut receipt, &begun) {
            receipt.cached_tokens = *cached;
        }
        let mut running = Self {
            sink,
            outbox: receipt.map(Event::Started).into_iter().collect(),
            held: None,
            texts,
            reader,
            user,
            rows,
            tokens,
            queued,
            admitted: now,
            first_token: None,
            is_over: false,
            is_failed: false,
        };
        if let Some(Err(error)) = begun {
            running.fail(error.into(), session);
        }
        running.flush();
        running
    }

    /// Rows that it takes; none once all that is left of it is to be told.
    pub(crate) fn rows(&self) -> usize {
        if self.is_over { 0 } else { self.rows }
    }

    /// Tokens that these may come to hold.
    pub(crate) fn tokens(&self) -> usize {
        if self.is_over { 0 } else { self.tokens }
    }

    /// The adapter that it is answered with, while it is.
    pub(crate) fn adapter(&self) -> Option<&[u8]> {
        let adapter = self.reader.adapter.as_ref().filter(|_| !self.is_over)?;
        Some(adapter.as_bytes())
    }

    pub(crate) fn is_of(&self, user: &UserId) -> bool {
        self.user.as_ref() == Some(user)
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.sink.is_gone()
    }

    /// Whether all of it was told.
    pub(crate) fn is_finished(&self) -> bool {
        self.is_over && self.outbox.is_empty()
    }

    pub(crate) fn is_failed(&self) -> bool {
        self.is_failed
    }

    /// For how long it has waited for its reader.
    pub(crate) fn held_for(&self) -> Duration {
        self.held.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Whether a part of a context is to be read.
    pub(crate) fn is_reading(&self) -> bool {
        !self.is_over && self.texts.iter().any(|text| text.is_reading)
    }

    /// Whether a token can be chosen.
    pub(crate) fn is_writing(&self) -> bool {
        let writes = |text: &Text| text.generation.is_some() && !text.is_reading;
        !self.is_over && self.outbox.is_empty() && self.texts.iter().any(writes)
    }

    /// Reads the next part of a context.
    pub(crate) fn read_on(
        &mut self,
        session: &mut dyn Session,
        prefixes: &mut Prefixes,
        counters: &Counters,
    ) {
        let Some(text) = self.texts.iter_mut().find(|text| text.is_reading) else { return };
        let has_read = match text.read_on(session, prefixes, counters) {
            Ok(true) => self.begin_others(session, prefixes),
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = has_read {
            self.fail(error.into(), session);
        }
    }

    /// Once the first text has read: the others take copies of its rows, or read themselves where
    /// the session makes none.
    fn begin_others(
        &mut self,
        session: &mut dyn Session,
        prefixes: &mut Prefixes,
    ) -> spring_core::Result<()> {
        let Some((first, others)) = self.texts.split_first_mut() else { return Ok(()) };
        let Some(first) = &first.generation else { return Ok(()) };
        for text in others.iter_mut().filter(|text| text.is_reading && text.reading.is_none()) {
            let Some(generation) = &mut text.generation else { continue };
            match generation.fork_from(first, session)? {
                true => text.is_reading = false,
                false => drop(text.begin(&self.reader, session, prefixes)?),
            }
        }
        Ok(())
    }

    /// Chooses the next token of every text that can have one, and adds what the rows are to append
    /// to `tokens`.
    pub(crate) fn choose(
        &mut self,
        model: &dyn LanguageModel,
        session: &mut dyn Session,
        counters: &Counters,
        tokens: &mut Vec<(RowId, u32)>,
    ) {
        if !self.is_writing() {
            return;
        }
        let mut failure = None;
        for (choice, text) in self.texts.iter_mut().enumerate().filter(|(_, t)| !t.is_reading) {
            let Some(generation) = &mut text.generation else { continue };
            let step = match generation.step(model, session) {
                Ok(step) => step,
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            };
            let now = Instant::now();
            let mut counted = counters.lock();
            if self.first_token.is_none() {
                self.first_token = Some(now);
                counted.add(Time::ToFirstToken, now - self.queued);
                counted.add(Time::Prefill, now - self.admitted);
            }
            if step.token.is_some() {
                counted.stats.generated_tokens += 1;
                if let Some(last) = text.last_token.replace(now) {
                    counted.add(Time::BetweenTokens, now - last);
                }
            }
            drop(counted);
            if step.token.is_some() || !step.text.is_empty() {
                self.outbox.push_back(Event::Text {
                    choice,
                    text: step.text,
                    token: step.token,
                    likely: step.likely,
                    trace: step.trace,
                });
            }
            match step.ended {
                None => tokens.extend(generation.next_tokens()),
                Some(_) => match end(choice, text, model, session, counters) {
                    Ok(event) => self.outbox.extend(event),
                    Err(error) => {
                        failure = Some(error);
                        break;
                    }
                },
            }
        }
        match failure {
            // Its rows are gone, so what they were to append is nothing.
            Some(error) => {
                let own: Vec<RowId> = self.row_ids();
                tokens.retain(|(row, _)| !own.contains(row));
                self.fail(error.into(), session);
            }
            None => self.close(counters),
        }
        self.flush();
    }

    fn row_ids(&self) -> Vec<RowId> {
        let generations = self.texts.iter().filter_map(|text| text.generation.as_ref());
        generations.flat_map(TextGeneration::rows).copied().collect()
    }

    /// The rows that a step moves.
    pub(crate) fn next_tokens(&self) -> Vec<(RowId, u32)> {
        let generations = self.texts.iter().filter(|text| !text.is_reading);
        let generations = generations.filter_map(|text| text.generation.as_ref());
        generations.flat_map(TextGeneration::next_tokens).collect()
    }

    /// Says that it is done, once all texts have ended.
    fn close(&mut self, counters: &Counters) {
        if self.is_over || self.texts.iter().any(|text| text.generation.is_some()) {
            return;
        }
        let now = Instant::now();
        let mut counted = counters.lock();
        counted.add(Time::Whole, now - self.queued);
        counted.add(Time::Decode, now - self.first_token.unwrap_or(now));
        counted.left(now);
        self.outbox.push_back(Event::Done);
        self.is_over = true;
    }

    /// Ends all texts where they are.
    pub(crate) fn cut(
        &mut self,
        model: &dyn LanguageModel,
        session: &mut dyn Session,
        counters: &Counters,
    ) {
        for (choice, text) in self.texts.iter_mut().enumerate() {
            let Some(generation) = &mut text.generation else { continue };
            let ended = generation.stop(model).and_then(|rest| {
                if !rest.is_empty() {
                    self.outbox.push_back(Event::Text {
                        choice,
                        text: rest,
                        token: None,
                        likely: None,
                        trace: None,
                    });
                }
                end(choice, text, model, session, counters)
            });
            match ended {
                Ok(event) => self.outbox.extend(event),
                Err(error) => {
                    self.fail(error.into(), session);
                    break;
                }
            }
        }
        self.close(counters);
        self.flush();
    }

    /// Ends it with a failure; what was not read of it stays before that.
    pub(crate) fn fail(&mut self, failure: Failure, session: &mut dyn Session) {
        self.leave(session);
        if !self.is_over {
            self.outbox.push_back(Event::Failed(failure));
            (self.is_over, self.is_failed) = (true, true);
        }
        self.flush();
    }

    /// Takes its rows out of the batch.
    pub(crate) fn leave(&mut self, session: &mut dyn Session) {
        for text in &mut self.texts {
            if let Some(mut generation) = text.generation.take() {
                generation.leave(session);
            }
            text.is_reading = false;
        }
    }

    /// Gives the sink what it has room for.
    pub(crate) fn flush(&mut self) {
        while let Some(event) = self.outbox.pop_front() {
            if let Err(event) = self.sink.send(event) {
                self.outbox.push_front(event);
                self.held.get_or_insert_with(Instant::now);
                return;
            }
        }
        self.held = None;
    }
}

impl Text {
    /// Puts its rows into the batch; gives how many tokens of the prompt need not be read.
    fn begin(
        &mut self,
        reader: &Reader,
        session: &mut dyn Session,
        prefixes: &mut Prefixes,
    ) -> spring_core::Result<usize> {
        let Some(generation) = &mut self.generation else { return Ok(0) };
        generation.begin(session)?;
        let reading = prefixes.begin(reader, generation, session)?;
        let cached = reading.cached_tokens();
        self.reading = Some(reading);
        Ok(cached)
    }

    /// Reads the next part of a context; says whether that was the last.
    fn read_on(
        &mut self,
        session: &mut dyn Session,
        prefixes: &mut Prefixes,
        counters: &Counters,
    ) -> spring_core::Result<bool> {
        let (Some(generation), Some(reading)) = (&mut self.generation, &mut self.reading) else {
            return Ok(false);
        };
        let has_read = generation.read_on(session)?;
        prefixes.keep(reading, generation, session);
        if has_read {
            self.is_reading = false;
            let read = generation.prompt_tokens() - reading.all_cached_tokens();
            counters.lock().stats.prompt_tokens += read as u64;
        }
        Ok(has_read)
    }
}

/// Takes a text that has ended out of the batch.
fn end(
    choice: usize,
    text: &mut Text,
    model: &dyn LanguageModel,
    session: &mut dyn Session,
    counters: &Counters,
) -> spring_core::Result<Option<Event>> {
    let Some(mut generation) = text.generation.take() else { return Ok(None) };
    text.is_reading = false;
    generation.leave(session);
    let tokens = generation.tokens().len();
    let record = Box::new(generation.into_record(model)?);
    counters.lock().ended(record.ended);
    Ok(Some(Event::Ended { choice, tokens, record }))
}
