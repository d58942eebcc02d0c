//! A service in memory. Its tokens are characters, and it goes on with the prompt's own text: the
//! base says it as it is, a user's model with the user's name in front.
//!
//! A prompt that begins with `!` asks it to misbehave.

use std::{
    collections::{BTreeMap, HashMap},
    io::{Cursor, Read},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread,
    time::Duration,
};

use serde_json::json;
use spring_serve::{
    Adaptation, Added, Answer, AnswerDetail, AnswerEvent, AnswerSink, AnswerToken, Asker,
    AuditEvent, BufferText, ChatTurn, CompletionRequest, Consent, EmbeddingRequest, Embeddings,
    Explanation, Export, Feedback, FinishReason, Found, GateDetail, GenerationInfo, Imported,
    InteractionInfo, JobState, Key, KeyHash, Model, NewInteraction, Page, PageRequest, PeriodInfo,
    PeriodText, Prompt, Readiness, Receipt, Removed, Replicas, RetrievedDetail, RolledBack, Saying,
    Service, ServiceError, ServiceResult, SinkError, Stats, Target, Tokens, TopToken, Usage,
    UserInfo, answer_channel,
};

/// Characters that a prompt may have together with what is asked for.
pub const CONTEXT: u32 = 4096;

#[derive(Default)]
pub struct MemoryService {
    keys: Mutex<HashMap<KeyHash, Key>>,
    /// How often it was asked for one.
    pub asked_for_keys: Mutex<u32>,
    people: Mutex<BTreeMap<String, Person>>,
    pub audited: Mutex<Vec<AuditEvent>>,
    cancelled: Arc<Cancelled>,
    pub loading: Mutex<bool>,
    pub replicas: Mutex<Option<Arc<Replicas>>>,
    /// Requests as they came.
    pub requests: Mutex<Vec<CompletionRequest>>,
    pub door: Door,
    /// Whoever asked last for an adaptation.
    pub asker: Mutex<Option<Asker>>,
}

/// Before some calls, which wait while it is shut.
#[derive(Default)]
pub struct Door {
    /// Whether it is shut, and how many wait before it.
    state: Mutex<(bool, usize)>,
    changed: Condvar,
}

impl Door {
    pub fn shut(&self, shut: bool) {
        lock(&self.state).0 = shut;
        self.changed.notify_all();
    }

    /// Waits until somebody waits before it.
    pub fn wait_for_one(&self) {
        let is_nobody = |state: &mut (bool, usize)| state.1 == 0;
        let patience = Duration::from_secs(30);
        let waited = self.changed.wait_timeout_while(lock(&self.state), patience, is_nobody);
        assert!(!waited.unwrap().1.timed_out(), "nobody came");
    }

    fn pass(&self) {
        let mut state = lock(&self.state);
        state.1 += 1;
        self.changed.notify_all();
        state = self.changed.wait_while(state, |state| state.0).unwrap();
        state.1 -= 1;
    }
}

/// Ids of answers that were cancelled.
#[derive(Default)]
struct Cancelled {
    ids: Mutex<Vec<String>>,
    changed: Condvar,
}

#[derive(Default)]
struct Person {
    texts: Vec<InteractionInfo>,
    generation: u32,
    consent: bool,
    contribute: bool,
    adaptations: Vec<Adaptation>,
    answers: HashMap<String, (String, String)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

impl MemoryService {
    pub fn add_key(&self, hash: KeyHash, key: Key) {
        lock(&self.keys).insert(hash, key);
    }

    pub fn take_keys_away(&self) {
        lock(&self.keys).clear();
    }

    /// Waits until as many answers were cancelled.
    pub fn wait_cancelled(&self, count: usize) -> Vec<String> {
        let Cancelled { ids, changed } = &*self.cancelled;
        let cancelled = lock(ids);
        let patience = Duration::from_secs(30);
        let enough = |cancelled: &mut Vec<String>| cancelled.len() < count;
        let (cancelled, late) = changed.wait_timeout_while(cancelled, patience, enough).unwrap();
        assert!(!late.timed_out(), "only {cancelled:?} were cancelled");
        cancelled.clone()
    }

    /// Waits until as many requests came in.
    pub fn wait_requests(&self, count: usize) {
        for _ in 0..3000 {
            if lock(&self.requests).len() >= count {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("only {} requests", lock(&self.requests).len());
    }

    fn person<T>(&self, user: &str, of: impl FnOnce(&mut Person) -> T) -> ServiceResult<T> {
        let mut people = lock(&self.people);
        let person = people.get_mut(user);
        Ok(of(person.ok_or_else(|| ServiceError::UnknownUser(user.into()))?))
    }
}

/// What is to be written and how.
struct Plan {
    request: CompletionRequest,
    texts: Vec<(Vec<char>, FinishReason)>,
    prompt_tokens: u32,
}

fn plan(request: CompletionRequest) -> ServiceResult<Plan> {
    let said = match &request.prompt {
        Prompt::Chat(turns) => {
            let ChatTurn { text, .. } = turns.last().unwrap();
            text.clone()
        }
        Prompt::Text(text) => text.clone(),
        Prompt::Tokens(ids) => ids.iter().filter_map(|id| char::from_u32(*id)).collect(),
    };
    let prompt_tokens = said.chars().count() as u32;
    let asked = request.max_tokens.unwrap_or(16);
    if prompt_tokens + asked > CONTEXT {
        return Err(ServiceError::ContextLength { context: CONTEXT, prompt: prompt_tokens, asked });
    }
    let said = match request.target.user() {
        Some(user) => format!("{user}: {said}"),
        None => said,
    };
    let texts = (0..request.n).map(|index| {
        let mut text: Vec<char> = said.chars().collect();
        let turns = request.sampling.seed.unwrap_or(0).unsigned_abs() as usize + index as usize;
        if !text.is_empty() {
            let turns = turns % text.len();
            text.rotate_left(turns);
        }
        let mut reason = FinishReason::Stop;
        if let Some(max) = request.max_tokens.map(|max| max as usize)
            && text.len() > max
        {
            text.truncate(max);
            reason = FinishReason::Length;
        }
        let whole: String = text.iter().collect();
        let stop = request.stop.iter().filter_map(|stop| whole.find(stop.as_str())).min();
        if let Some(at) = stop {
            (text, reason) = (whole[..at].chars().collect(), FinishReason::Stop);
        }
        (text, reason)
    });
    Ok(Plan { texts: texts.collect(), request, prompt_tokens })
}

fn token(c: char, top: Option<u32>, share: Option<f32>) -> AnswerToken {
    let bytes = c.to_string().into_bytes();
    let best = TopToken { bytes: bytes.clone(), logprob: -0.5 };
    let other = TopToken { bytes: vec![0xff], logprob: f32::NEG_INFINITY };
    let top = [best, other].into_iter().take(top.unwrap_or(0) as usize).collect();
    AnswerToken { id: c as u32, bytes, logprob: -0.5, top, retrieval_share: share }
}

/// Puts an event, waiting for room.
fn put(sink: &AnswerSink, mut event: AnswerEvent) -> Result<(), ()> {
    loop {
        match sink.send(event) {
            Ok(()) => return Ok(()),
            Err(SinkError::Cancelled) => return Err(()),
            Err(SinkError::Full(back)) => event = *back,
        }
        thread::sleep(Duration::from_millis(1));
    }
}

impl Plan {
    fn write(&self, sink: &AnswerSink, command: &str) -> Result<(), ()> {
        let until_cancelled = || {
            while !sink.is_cancelled() {
                thread::sleep(Duration::from_millis(1));
            }
            Err(())
        };
        if command == "!queue" {
            return until_cancelled();
        }
        put(sink, AnswerEvent::Started)?;
        match command {
            "!hang" => return until_cancelled(),
            "!wait" => thread::sleep(Duration::from_millis(700)),
            "!flood" => loop {
                let text = "x".repeat(16 << 10);
                put(sink, AnswerEvent::Delta { index: 0, text, count: 1, tokens: vec![] })?;
            },
            _ => {}
        }
        let (wanted, trace) = (self.request.logprobs, self.request.trace);
        let mut count = 0;
        for (index, (text, _)) in self.texts.iter().enumerate() {
            for (at, c) in text.iter().enumerate() {
                let share = trace.then_some(0.25);
                let tokens = match wanted.is_some() || trace {
                    true => vec![token(*c, wanted, share)],
                    false => vec![],
                };
                let index = index as u32;
                put(sink, AnswerEvent::Delta { index, text: c.to_string(), count: 1, tokens })?;
                count += 1;
                match (command, at) {
                    ("!fail", 1) => {
                        let secret = ServiceError::Internal("/secret/path is damaged".into());
                        return put(sink, AnswerEvent::Failed(secret));
                    }
                    ("!drop", 1) => return Ok(()),
                    ("!pace", _) => thread::sleep(Duration::from_millis(20)),
                    _ => {}
                }
            }
        }
        for (index, (_, reason)) in self.texts.iter().enumerate() {
            put(sink, AnswerEvent::Finished { index: index as u32, reason: *reason })?;
        }
        let usage =
            Usage { prompt_tokens: self.prompt_tokens, cached_tokens: 1, completion_tokens: count };
        let detail = trace.then(|| AnswerDetail {
            generation: 7,
            gate: Some(GateDetail { open: true, reason: "near enough".into() }),
            lambda: Some(0.5),
            retrieved: vec![RetrievedDetail { id: "t1".into(), score: 1.5, used: true }],
        });
        put(sink, AnswerEvent::Done { usage, detail })
    }
}

fn info(text: &NewInteraction, id: &str) -> InteractionInfo {
    InteractionInfo {
        id: id.into(),
        time: text.time.clone().unwrap_or_else(|| "2026-01-01T00:00:00Z".into()),
        prompt: text.prompt.clone(),
        response: text.response.clone(),
        meta: text.meta.clone(),
        period: None,
        held_out: false,
    }
}

fn user_info(id: &str, person: &Person) -> UserInfo {
    UserInfo {
        id: id.into(),
        interactions: person.texts.len() as u64,
        pending: person.texts.len() as u64,
        first: person.texts.first().map(|text| text.time.clone()),
        last: person.texts.last().map(|text| text.time.clone()),
        periods: 0,
        generation: person.generation,
        buffer: 0,
        consent: person.consent,
    }
}

fn part<T>(items: Vec<T>, page: &PageRequest, id: impl Fn(&T) -> &str) -> Page<T> {
    let from = match &page.after {
        Some(after) => items.iter().position(|item| id(item) == after).map_or(0, |at| at + 1),
        None => 0,
    };
    let has_more = items.len() > from + page.limit;
    Page { data: items.into_iter().skip(from).take(page.limit).collect(), has_more }
}

impl Service for MemoryService {
    fn readiness(&self) -> Readiness {
        match *lock(&self.loading) {
            true => Readiness::NotReady("the model is being loaded".into()),
            false => Readiness::Ready,
        }
    }

    fn stats(&self) -> Stats {
        Stats { running: 3, prefix_cache_bytes: 7, ..Stats::default() }
    }

    fn models(&self) -> Vec<Model> {
        let model = |id: &str| Model {
            id: id.into(),
            created: 1_700_000_000,
            context: CONTEXT,
            embedding: Some(4),
        };
        vec![model("echo"), model("org/echo")]
    }

    fn replicas(&self) -> Option<Arc<Replicas>> {
        lock(&self.replicas).clone()
    }

    fn key(&self, hash: &KeyHash) -> ServiceResult<Option<Key>> {
        *lock(&self.asked_for_keys) += 1;
        Ok(lock(&self.keys).get(hash).cloned())
    }

    fn has_keys(&self) -> ServiceResult<bool> {
        Ok(!lock(&self.keys).is_empty())
    }

    fn audit(&self, event: &AuditEvent) {
        lock(&self.audited).push(event.clone());
    }

    fn complete(&self, request: CompletionRequest) -> ServiceResult<Answer> {
        lock(&self.requests).push(request.clone());
        if let Target::User { user, .. } = &request.target {
            self.person(user, |_| ())?;
        }
        let plan = plan(request)?;
        let said: String = plan.texts[0].0.iter().collect();
        let at = said.find('!').unwrap_or(said.len());
        let command = said[at..].split_whitespace().next().unwrap_or("").to_owned();
        match command.as_str() {
            "!panic" => panic!("a defect of the service"),
            "!slow_down" => return Err(ServiceError::SlowDown { retry_after: None }),
            "!overloaded" => {
                let retry_after = Some(Duration::from_millis(1500));
                return Err(ServiceError::Overloaded { retry_after });
            }
            "!internal" => return Err(ServiceError::Internal("/secret/path".into())),
            _ => {}
        }
        let length: usize = plan.texts.iter().map(|(text, _)| text.len() + 1).sum();
        let capacity = if command == "!flood" { 4 } else { length + 4 };
        let (sink, events) = answer_channel(capacity);
        let prompt_tokens = plan.prompt_tokens;
        let generation = if plan.request.target.user().is_some() { 7 } else { 0 };
        if let Some(user) = plan.request.target.user() {
            let answer = (plan.request.response_id.clone(), ("?".to_owned(), said));
            self.person(user, |person| person.answers.extend([answer]))?;
        }
        let cancelled = Arc::clone(&self.cancelled);
        thread::spawn(move || {
            if plan.write(&sink, &command).is_err() {
                lock(&cancelled.ids).push(plan.request.response_id.clone());
                cancelled.changed.notify_all();
            }
        });
        let fingerprint = format!("fp-{generation}");
        Ok(Answer { prompt_tokens, generation, fingerprint, events })
    }

    fn embed(&self, request: EmbeddingRequest) -> ServiceResult<Embeddings> {
        let mut prompt_tokens = 0;
        let vectors = request.inputs.iter().map(|input| {
            let length = match input {
                Prompt::Text(text) => text.chars().count(),
                Prompt::Tokens(ids) => ids.len(),
                Prompt::Chat(_) => unreachable!("never a conversation"),
            };
            prompt_tokens += length as u32;
            vec![length as f32, 0.5, -1.0, 0.0]
        });
        let vectors = vectors.collect();
        Ok(Embeddings { vectors, prompt_tokens })
    }

    fn tokenize(&self, _: &str, prompt: Prompt, special: bool) -> ServiceResult<Tokens> {
        let text = match prompt {
            Prompt::Text(text) => text,
            Prompt::Chat(turns) => turns.into_iter().map(|turn| turn.text).collect(),
            Prompt::Tokens(_) => return Err(ServiceError::invalid("prompt", "tokens already")),
        };
        let text: Vec<char> = special.then_some('\u{2}').into_iter().chain(text.chars()).collect();
        Ok(Tokens {
            ids: text.iter().map(|c| *c as u32).collect(),
            bytes: text.iter().map(|c| c.to_string().into_bytes()).collect(),
        })
    }

    fn detokenize(&self, _: &str, tokens: &[u32]) -> ServiceResult<String> {
        let text = tokens.iter().map(|id| char::from_u32(*id));
        let wrong = || ServiceError::invalid("tokens", "there is no such token");
        text.collect::<Option<String>>().ok_or_else(wrong)
    }

    fn users(&self, page: &PageRequest) -> ServiceResult<Page<UserInfo>> {
        let people = lock(&self.people);
        let users = people.iter().map(|(id, person)| user_info(id, person)).collect();
        Ok(part(users, page, |user: &UserInfo| &user.id))
    }

    fn user(&self, user: &str) -> ServiceResult<UserInfo> {
        self.person(user, |person| user_info(user, person))
    }

    fn create_user(&self, user: &str) -> ServiceResult<bool> {
        if user.trim().is_empty() || user.len() > 256 || user.chars().any(char::is_control) {
            return Err(ServiceError::invalid("user", "this cannot be a user's id"));
        }
        let mut people = lock(&self.people);
        let new = !people.contains_key(user);
        people.entry(user.to_owned()).or_default();
        Ok(new)
    }

    fn delete_user(&self, user: &str) -> ServiceResult<Receipt> {
        let person = lock(&self.people).remove(user);
        let person = person.ok_or_else(|| ServiceError::UnknownUser(user.into()))?;
        let removed =
            |place: &str, count: usize| Removed { place: place.into(), count: count as u64 };
        Ok(Receipt {
            user: user.into(),
            interaction: None,
            time: "2026-01-01T00:00:00Z".into(),
            removed: vec![
                removed("history", person.texts.len()),
                removed("records", person.answers.len()),
            ],
            relearned: vec![],
            priors: vec![],
        })
    }

    fn add_interactions(&self, user: &str, texts: Vec<NewInteraction>) -> ServiceResult<Added> {
        self.person(user, |person| {
            let mut added = Added { added: 0, known: 0, ids: vec![] };
            let mut new: Vec<InteractionInfo> = vec![];
            for text in &texts {
                let id = text.id.clone();
                let id = id.unwrap_or_else(|| format!("{}/{}", text.prompt, text.response));
                let known = person.texts.iter().chain(&new).find(|known| known.id == id);
                match known {
                    Some(known) if known.response == text.response => added.known += 1,
                    Some(_) => {
                        let message = format!("{id:?} is there already with other content");
                        return Err(ServiceError::Conflict(message));
                    }
                    None => {
                        new.push(info(text, &id));
                        added.added += 1;
                    }
                }
                added.ids.push(id);
            }
            person.texts.extend(new);
            Ok(added)
        })?
    }

    fn interactions(&self, user: &str, page: &PageRequest) -> ServiceResult<Page<InteractionInfo>> {
        let texts = self.person(user, |person| person.texts.iter().rev().cloned().collect())?;
        Ok(part(texts, page, |text: &InteractionInfo| &text.id))
    }

    fn interaction(&self, user: &str, id: &str) -> ServiceResult<InteractionInfo> {
        let found =
            self.person(user, |person| person.texts.iter().find(|text| text.id == id).cloned());
        let missing = || ServiceError::NotFound { what: "interaction", id: id.into() };
        found?.ok_or_else(missing)
    }

    fn delete_interaction(&self, user: &str, id: &str) -> ServiceResult<Receipt> {
        self.person(user, |person| {
            let before = person.texts.len();
            person.texts.retain(|text| text.id != id);
            let count = (before - person.texts.len()) as u64;
            Receipt {
                user: user.into(),
                interaction: Some(id.into()),
                time: "2026-01-01T00:00:00Z".into(),
                removed: vec![Removed { place: "history".into(), count }],
                relearned: vec![],
                priors: vec![],
            }
        })
    }

    fn search(&self, user: &str, query: &str, limit: usize) -> ServiceResult<Vec<Found>> {
        self.person(user, |person| {
            let found = person.texts.iter().filter(|text| text.response.contains(query));
            let found = found.map(|text| Found { score: 1.0, interaction: text.clone() });
            found.take(limit).collect()
        })
    }

    fn adapt(&self, user: &str, asker: Asker) -> ServiceResult<Adaptation> {
        *lock(&self.asker) = Some(asker);
        self.person(user, |person| {
            person.generation += 1;
            let adaptation = Adaptation {
                id: format!("adapt-{}", person.generation),
                state: JobState::Done,
                cause: "request".into(),
                created: "2026-01-01T00:00:00Z".into(),
                started: None,
                finished: None,
                periods: 1,
                generation: Some(person.generation),
                error: None,
            };
            person.adaptations.insert(0, adaptation.clone());
            adaptation
        })
    }

    fn adaptations(&self, user: &str) -> ServiceResult<Vec<Adaptation>> {
        self.person(user, |person| person.adaptations.clone())
    }

    fn generations(&self, user: &str) -> ServiceResult<Vec<GenerationInfo>> {
        self.door.pass();
        self.person(user, |person| {
            let one = |number| GenerationInfo {
                number,
                parent: number - 1,
                period: number,
                finished: "2026-01-01T00:00:00Z".into(),
                current: number == person.generation,
                on_path: number <= person.generation,
                kept: true,
                adapter_bytes: Some(10),
                buffer: Some(0),
            };
            (1..=person.adaptations.len() as u32).rev().map(one).collect()
        })
    }

    fn rollback(&self, user: &str, to: u32) -> ServiceResult<RolledBack> {
        self.door.pass();
        self.person(user, |person| {
            if to as usize > person.adaptations.len() {
                return Err(ServiceError::NotFound { what: "generation", id: to.to_string() });
            }
            let from = std::mem::replace(&mut person.generation, to);
            Ok(RolledBack { from, to })
        })?
    }

    fn periods(&self, user: &str) -> ServiceResult<Vec<PeriodInfo>> {
        self.person(user, |person| {
            let text = |(place, text): (usize, &InteractionInfo)| PeriodText {
                id: text.id.clone(),
                time: Some(text.time.clone()),
                novelty: (place % 7) as f64 / 7.0 - 0.3,
                quality: -1.5,
                score: (place % 7) as f64 / 7.0,
                selected: (place % 7 > 3).then_some(place as u64),
                excerpt: Some(text.response.chars().take(200).collect()),
            };
            let one = |number: u32| PeriodInfo {
                period: number,
                generation: number,
                finished: "2026-01-01T00:00:00Z".into(),
                first: person.texts.first().map(|text| text.time.clone()),
                last: person.texts.last().map(|text| text.time.clone()),
                held_out: 1,
                selected: 3,
                cutoff: Some(0.5),
                reason: "the upper half".into(),
                gate: "the gate opens above a score of 2".into(),
                steps: 10,
                seconds: 1.0,
                texts: person.texts.iter().enumerate().map(text).collect(),
                evicted: vec![],
            };
            (1..=person.adaptations.len() as u32).map(one).collect()
        })
    }

    fn buffer(&self, user: &str) -> ServiceResult<Vec<BufferText>> {
        self.person(user, |person| {
            let text =
                |text: &InteractionInfo| BufferText { score: 1.0, interaction: text.clone() };
            person.texts.iter().map(text).collect()
        })
    }

    fn explain(&self, user: &str, response_id: &str, choice: u32) -> ServiceResult<Explanation> {
        let missing = || ServiceError::NotFound { what: "response", id: response_id.into() };
        let (prompt, text) = self
            .person(user, |person| person.answers.get(response_id).cloned())?
            .ok_or_else(missing)?;
        Ok(Explanation {
            response_id: response_id.into(),
            choice,
            time: "2026-01-01T00:00:00Z".into(),
            prompt,
            text,
            finish_reason: Some(FinishReason::Stop),
            detail: AnswerDetail { generation: 7, gate: None, lambda: None, retrieved: vec![] },
            tokens: vec![],
        })
    }

    fn feedback(&self, user: &str, feedback: Feedback) -> ServiceResult<Added> {
        self.explain(user, &feedback.response_id, feedback.choice)?;
        let text = NewInteraction {
            id: Some(feedback.response_id),
            time: None,
            prompt: String::new(),
            response: feedback.text,
            meta: Some(json!({"feedback": true})),
        };
        self.add_interactions(user, vec![text])
    }

    fn consent(&self, user: &str) -> ServiceResult<Consent> {
        self.person(user, |person| Consent {
            keep_conversations: person.consent,
            contribute: person.contribute,
            ..Consent::default()
        })
    }

    fn set_consent(&self, user: &str, saying: Saying) -> ServiceResult<Consent> {
        self.person(user, |person| {
            let since = |said: Option<bool>| said.map(|_| "2026-01-01T00:00:00Z".into());
            person.consent = saying.keep_conversations.unwrap_or(person.consent);
            person.contribute = saying.contribute.unwrap_or(person.contribute);
            Consent {
                keep_conversations: person.consent,
                since: since(saying.keep_conversations),
                contribute: person.contribute,
                contribute_since: since(saying.contribute),
            }
        })
    }

    fn export(&self, user: &str) -> ServiceResult<Export> {
        let texts = self.person(user, |person| person.texts.clone())?;
        let bytes = texts.iter().map(|text| format!("{}\n", json!(text))).collect::<String>();
        let bytes = Cursor::new(bytes.into_bytes());
        // A user of this name has a disk that fails at the end.
        let bytes: Box<dyn Read + Send> = match user {
            "broken" => Box::new(bytes.chain(Broken)),
            _ => Box::new(bytes),
        };
        Ok(Export { media_type: "application/jsonl", extension: ".jsonl", bytes })
    }

    fn import(&self, user: &str, bytes: &mut dyn Read) -> ServiceResult<Imported> {
        let mut text = String::new();
        bytes
            .read_to_string(&mut text)
            .map_err(|error| ServiceError::invalid("body", error.to_string()))?;
        self.create_user(user)?;
        let texts = text.lines().map(|line| {
            let value: serde_json::Value = serde_json::from_str(line)
                .map_err(|error| ServiceError::invalid("body", error.to_string()))?;
            let text = |name: &str| value[name].as_str().map(str::to_owned);
            Ok(NewInteraction {
                id: text("id"),
                time: text("time"),
                prompt: text("prompt").unwrap_or_default(),
                response: text("response").unwrap_or_default(),
                meta: None,
            })
        });
        let added = self.add_interactions(user, texts.collect::<ServiceResult<_>>()?)?;
        Ok(Imported { interactions: added.added, generations: 0, answers: 0 })
    }
}

struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(std::io::Error::other("/secret/disk fails"))
    }
}
