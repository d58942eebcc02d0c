//! The service itself.

use std::{
    io::Read,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    thread::JoinHandle,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use jiff::Timestamp;
use spring_core::{
    ApiKey, Error, HistorySearch, KeyAccess, LanguageModel, Store, embed_text, forget_interaction,
    prompt::{Earlier, whole_context},
    spring_lm::{Adapter, ModelConfig},
    spring_memory::{Interaction, InteractionId, SearchFilter, UserId},
    spring_store::Error as StoreError,
};
use spring_engine::{AdaptationState, Asker, Dropped, Engine, Input};
use spring_serve::{
    Adaptation, Added, Answer, AuditEvent, BufferText, CompletionRequest, Consent,
    EmbeddingRequest, Embeddings, Explanation, Export, Feedback, Found, GenerationInfo, Imported,
    InteractionInfo, Key, KeyHash, Model, NewInteraction, Page, PageRequest, PeriodInfo, Prompt,
    Readiness, Receipt, Removed, Replicas, RolledBack, Saying, Service, ServiceError,
    ServiceResult, Stats, Target, Tokens, UserInfo, answer_channel,
};

use super::{
    audit::AuditLog,
    bridge::{Bridge, record_id},
    herald::{Herald, Leaving},
    keeper::Keeper,
    person, prompt,
    refusal::{self, short},
    texts, transfer,
};

/// Events that may lie between the batch and a slow reader, beside the ends of all texts.
const EVENTS: usize = 256;

/// Engine, state and model behind the server.
pub struct Served {
    engine: Engine,
    store: Arc<Store>,
    model: Arc<dyn LanguageModel>,
    config: ModelConfig,
    /// The base's name on the wire.
    name: String,
    /// What must be equal for equal texts, beside the generation.
    fingerprint: String,
    started: u64,
    width: u32,
    keeper: Mutex<Option<(Keeper, JoinHandle<()>)>>,
    audit: Option<AuditLog>,
    herald: OnceLock<Herald>,
}

impl Served {
    /// Begins to serve a state by an engine that runs on it. `name` is the model's name in the
    /// settings; acts are added to `audit`.
    ///
    /// # Errors
    ///
    /// If the model gives no embedding, or the system refuses a thread.
    pub fn new(
        engine: Engine,
        config: ModelConfig,
        name: &str,
        device: &str,
        audit: Option<AuditLog>,
    ) -> anyhow::Result<Self> {
        let (store, model) = (engine.store().clone(), engine.model().clone());
        let width = short(embed_text(&*model, "")?.len());
        let keeper = Keeper::start(store.clone())?;
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let fingerprint = format!(
            "spring-{}-{:.12}-{device}",
            env!("CARGO_PKG_VERSION"),
            model.info().fingerprint
        );
        let name = wire_name(name);
        let keeper = Mutex::new(Some(keeper));
        Ok(Self {
            engine,
            store,
            model,
            config,
            name,
            fingerprint,
            started,
            width,
            keeper,
            audit,
            herald: OnceLock::new(),
        })
    }

    /// Says in the state that this server is there, under the address at which proxies reach it and
    /// with `rows` in its batch, until it is to leave. The first call counts.
    ///
    /// # Errors
    ///
    /// If the state cannot be written, or the system refuses a thread.
    pub fn advertise(self: &Arc<Self>, url: &str, rows: usize) -> anyhow::Result<Leaving> {
        let this = Arc::downgrade(self);
        let load = move || {
            let this = this.upgrade().filter(|this| this.engine.is_ready())?;
            let stats = this.engine.stats();
            Some((stats.rows + stats.waiting) as f64 / rows.max(1) as f64)
        };
        let herald = Herald::start(self.store.clone(), url.to_owned(), load)?;
        Ok(self.herald.get_or_init(|| herald).leaving())
    }

    /// Takes no new requests, lets those that it has end within `limit`, and keeps what is to be
    /// kept.
    pub fn drain(&self, limit: Duration) {
        self.engine.drain(limit);
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((keeper, thread)) = keeper {
            drop(keeper);
            // What it panics with is told where it happens.
            let _ = thread.join();
        }
        if let Some(herald) = self.herald.get() {
            herald.end();
        }
    }

    fn keeper(&self) -> ServiceResult<Keeper> {
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        let keeper = keeper.as_ref().map(|(keeper, _)| keeper.clone());
        keeper.ok_or_else(|| ServiceError::NotReady("it is going down".into()))
    }

    fn check_model(&self, model: &str) -> ServiceResult<()> {
        match model == self.name {
            true => Ok(()),
            false => Err(ServiceError::UnknownModel(model.into())),
        }
    }

    /// A user by name; text that cannot be an id is an unknown user.
    fn id(user: &str) -> ServiceResult<UserId> {
        UserId::new(user).map_err(|_| ServiceError::UnknownUser(user.into()))
    }

    /// A user who is there.
    fn known(&self, user: &str) -> ServiceResult<UserId> {
        let user = Self::id(user)?;
        self.store.version(&user).map_err(refusal::of_store)?;
        Ok(user)
    }

    /// The interaction of an id.
    fn find(&self, user: &UserId, id: &str) -> ServiceResult<Option<InteractionInfo>> {
        let Ok(id) = InteractionId::new(id) else { return Ok(None) };
        let seq = self.store.find(user, &id).map_err(refusal::of_store)?;
        let Some(seq) = seq else { return Ok(None) };
        let texts = self.store.interactions(user, &[seq]).map_err(refusal::of_store)?;
        let place = self.store.place(user, seq).map_err(refusal::of_store)?;
        Ok(texts.into_iter().next().map(|text| person::interaction(text.interaction, place)))
    }

    fn add(&self, texts: Vec<Interaction>) -> ServiceResult<Added> {
        let ids = texts.iter().map(|text| text.id.to_string()).collect();
        let report = self.store.ingest(texts).map_err(refusal::of_store)?;
        Ok(Added { added: report.added, known: report.skipped, ids })
    }

    /// Does what needs a user for itself: an adaptation of this server's is stopped for it. Also
    /// says whether the one that was stopped had been asked for.
    fn before_learning<T>(
        &self,
        user: &UserId,
        work: impl Fn() -> Result<T, Error>,
    ) -> ServiceResult<(T, bool)> {
        let (mut was_asked, mut is_last) = (false, false);
        loop {
            let done = work();
            if is_last || !matches!(done, Err(Error::Store(StoreError::Leased { .. }))) {
                return Ok((done.map_err(refusal::of)?, was_asked));
            }
            match self.engine.stop_adapting(user) {
                Some(stopped) => was_asked |= stopped.asked,
                // It has just ended, or somebody else has the user.
                None => is_last = true,
            }
        }
    }

    fn forget_interaction(&self, user: &UserId, id: &InteractionId) -> ServiceResult<Receipt> {
        let (model, store) = (&*self.model, &*self.store);
        let asker = self.engine.asker(user);
        // A generation that cannot be read is no reason to keep the text.
        let was_in_buffer = person::is_in_buffer(store, user, id);
        let ((relearned, forgotten), was_asked) = self.before_learning(user, || {
            let relearned: Vec<u32> = store.generations(user)?.iter().map(|g| g.number).collect();
            Ok((relearned, forget_interaction(model, store, user, id, &mut ())?))
        })?;
        let is_asked = |a: &spring_engine::Adaptation| a.asked && !a.state.is_over();
        let was_asked = was_asked || self.engine.adaptations(Some(user)).iter().any(is_asked);
        let asker = self.engine.asker(user).or(asker);
        // Answers that are being written may have read the text.
        let dropped = self.engine.forget(user);
        if was_asked && let Err(error) = self.engine.adapt_for(user, asker) {
            tracing::warn!("user {user}: the adaptation that was asked for is lost: {error}");
        }
        let count = usize::try_from(forgotten.generations_relearned).unwrap_or(usize::MAX);
        let skipped = relearned.len().saturating_sub(count);
        let from_buffer = match was_in_buffer {
            Ok(was) => Some(removed("buffer", was.into())),
            Err(error) => {
                tracing::warn!(
                    "user {user}: whether a text that was forgotten had been in the buffer is \
                     unknown: {error}"
                );
                None
            }
        };
        Ok(Receipt {
            user: user.to_string(),
            interaction: Some(id.to_string()),
            time: Timestamp::now().to_string(),
            removed: std::iter::once(removed("history", forgotten.interactions))
                .chain(from_buffer)
                .chain([removed("records", forgotten.answers)])
                .chain(from_memory(dropped))
                .collect(),
            relearned: relearned.into_iter().skip(skipped).collect(),
            priors: forgotten.priors,
        })
    }
}

fn removed(place: &str, count: u64) -> Removed {
    Removed { place: place.into(), count }
}

/// What went from memory alone.
fn from_memory(dropped: Dropped) -> [Removed; 3] {
    [
        removed("answers being written", dropped.requests as u64),
        removed("models in memory", dropped.models as u64),
        removed("prefixes in memory", dropped.prefixes as u64),
    ]
}

/// A model's name on the wire: of a folder or a file its own name, of a hub's what stands behind
/// the owner. A colon would separate it from a user.
fn wire_name(model: &str) -> String {
    let name = model.trim_end_matches(['/', '\\']);
    let name = name.rsplit(['/', '\\', ':']).next().unwrap_or(name);
    let name = name.strip_suffix(".gguf").unwrap_or(name);
    if name.is_empty() { "base".into() } else { name.into() }
}

impl Service for Served {
    fn readiness(&self) -> Readiness {
        match self.engine.is_ready() {
            true => Readiness::Ready,
            false => Readiness::NotReady("it is going down".into()),
        }
    }

    fn stats(&self) -> Stats {
        let stats = self.engine.stats();
        let [used, all] = stats.tokens;
        let adaptations = self.engine.adaptations(None);
        let count = |is_so: fn(&AdaptationState) -> bool| {
            adaptations.iter().filter(|adaptation| is_so(&adaptation.state)).count() as u64
        };
        Stats {
            running: stats.running as u64,
            waiting: stats.waiting as u64,
            kv_cache_usage: used as f64 / all.max(1) as f64,
            prefix_cache_queries: stats.prefixes.queried,
            prefix_cache_hits: stats.prefixes.hit,
            prefix_cache_bytes: stats.prefixes.bytes,
            prefix_cache_evictions: stats.prefixes.evicted,
            running_adapters: stats.running_adapters as u64,
            waiting_adapters: stats.waiting_adapters as u64,
            most_adapters: self.engine.rows() as u64,
            adapters_loaded: stats.cache.people as u64,
            adapter_bytes: stats.cache.bytes,
            adapter_loads: stats.cache.misses,
            adapter_evictions: stats.cache.evicted,
            adaptations_waiting: count(|s| *s == AdaptationState::Waiting),
            adaptations_running: count(|s| matches!(s, AdaptationState::Running { .. })),
            adaptations_done: stats.adaptations,
            adaptations_failed: stats.failed_adaptations,
        }
    }

    fn models(&self) -> Vec<Model> {
        vec![Model {
            id: self.name.clone(),
            created: self.started,
            context: short(self.model.info().context),
            embedding: Some(self.width),
        }]
    }

    fn replicas(&self) -> Option<Arc<Replicas>> {
        self.herald.get().map(Herald::list)
    }

    fn key(&self, hash: &KeyHash) -> ServiceResult<Option<Key>> {
        Ok(self.store.key(&hash.0).map_err(refusal::of_store)?.and_then(person::key))
    }

    fn has_keys(&self) -> ServiceResult<bool> {
        self.store.has_keys().map_err(refusal::of_store)
    }

    fn audit(&self, event: &AuditEvent) {
        if let Some(Err(error)) = self.audit.as_ref().map(|log| log.add(event)) {
            tracing::error!("{error:#}");
        }
    }

    fn complete(&self, request: CompletionRequest) -> ServiceResult<Answer> {
        self.check_model(request.target.model())?;
        let (user, person) = match &request.target {
            Target::Base { person, .. } => (None, person.clone()),
            Target::User { user, .. } => (Some(Self::id(user)?), None),
        };
        let temperature = self.store.settings().config.decoding.sampler.temperature;
        let mut asked = prompt::request(&request, user, temperature)?;
        asked.person = person;
        let choices = asked.choices;
        let (sink, events) = answer_channel(EVENTS + 2 * choices.min(EVENTS));
        let bridge = Bridge {
            sink,
            model: self.model.clone(),
            keeper: self.keeper()?,
            response_id: request.response_id,
            tells_tokens: request.logprobs.is_some() || request.trace,
            tells_detail: request.trace,
            is_conversation: request.keep && matches!(request.prompt, Prompt::Chat(_)),
            records: vec![None; choices.min(EVENTS)],
            written: 0,
            receipt: None,
        };
        let most = request.max_tokens;
        let taken = self.engine.submit(asked, Box::new(bridge));
        let taken = taken.map_err(|refused| refusal::of_refusal(refused, most))?;
        // More than fits beside the prompt is cut, as clients ask for thousands by default; more
        // than the model can read at all is a mistake. What was taken ends with its events.
        let context = short(self.model.info().context);
        if let Some(asked) = most.filter(|most| *most > context) {
            let prompt = short(taken.prompt_tokens);
            return Err(ServiceError::ContextLength { context, prompt, asked });
        }
        Ok(Answer {
            prompt_tokens: short(taken.prompt_tokens),
            generation: taken.generation,
            fingerprint: format!("{}-g{}", self.fingerprint, taken.generation),
            events,
        })
    }

    fn embed(&self, request: EmbeddingRequest) -> ServiceResult<Embeddings> {
        self.check_model(&request.model)?;
        let (mut vectors, mut tokens) = (Vec::new(), 0);
        for input in &request.inputs {
            let (vector, count) = match input {
                Prompt::Text(text) => {
                    let ids = self.model.encode(text).map_err(|e| refusal::of(e.into()))?;
                    (embed_text(&*self.model, text), ids.len())
                }
                Prompt::Tokens(ids) => {
                    let rows = std::slice::from_ref(ids);
                    let vector = self.model.embed_tokens(rows);
                    let vector = vector.map(|rows| rows.into_iter().collect());
                    (vector.map_err(Into::into), ids.len())
                }
                Prompt::Chat(_) => {
                    let message = "a conversation has no embedding; give a text";
                    return Err(ServiceError::unsupported("input", message));
                }
            };
            vectors.push(vector.map_err(refusal::of)?);
            tokens += count;
        }
        Ok(Embeddings { vectors, prompt_tokens: short(tokens) })
    }

    fn tokenize(&self, model: &str, prompt: Prompt, special: bool) -> ServiceResult<Tokens> {
        self.check_model(model)?;
        let ids = match prompt {
            Prompt::Text(text) => {
                let first = self.model.info().bos.filter(|_| special);
                let ids = self.model.encode(&text).map_err(|error| refusal::of(error.into()))?;
                first.into_iter().chain(ids).collect()
            }
            Prompt::Tokens(ids) => ids,
            Prompt::Chat(messages) => match prompt::chat(&messages)? {
                Input::Chat { system, turns, prompt } => {
                    let earlier = Earlier::new(system.as_deref(), &turns);
                    whole_context(&*self.model, earlier, &prompt).map_err(refusal::of)?
                }
                Input::Text(_) | Input::Tokens(_) => Vec::new(),
            },
        };
        let bytes = ids.iter().map(|id| self.model.token_bytes(*id)).collect();
        Ok(Tokens { ids, bytes })
    }

    fn detokenize(&self, model: &str, tokens: &[u32]) -> ServiceResult<String> {
        self.check_model(model)?;
        self.model.decode_text(tokens).map_err(|error| refusal::of(error.into()))
    }

    fn users(&self, page: &PageRequest) -> ServiceResult<Page<UserInfo>> {
        let after = page.after.as_deref().map(Self::id).transpose()?;
        let mut users =
            self.store.users(after.as_ref(), page.limit + 1).map_err(refusal::of_store)?;
        let has_more = users.len() > page.limit;
        users.truncate(page.limit);
        Ok(Page { data: users.into_iter().map(person::user).collect(), has_more })
    }

    fn user(&self, user: &str) -> ServiceResult<UserInfo> {
        let summary = self.store.user(&Self::id(user)?).map_err(refusal::of_store)?;
        Ok(person::user(summary))
    }

    fn create_user(&self, user: &str) -> ServiceResult<bool> {
        let user =
            UserId::new(user).map_err(|error| ServiceError::invalid("user", error.to_string()))?;
        self.store.add_user(&user).map_err(refusal::of_store)
    }

    fn delete_user(&self, user: &str) -> ServiceResult<Receipt> {
        let user = Self::id(user)?;
        let summary = self.store.user(&user).map_err(refusal::of_store)?;
        let jobs = self.engine.adaptations(Some(&user)).len();
        let is_theirs = |key: &ApiKey| match &key.record.access {
            KeyAccess::User(of) => *of == user && key.record.revoked.is_none(),
            _ => false,
        };
        let keys = self.store.keys().map_err(refusal::of_store)?;
        let keys = keys.iter().filter(|key| is_theirs(key)).count();
        // What trains the user is stopped first, so that nothing holds on to what goes.
        let mut dropped = self.engine.forget(&user);
        let forgotten = self.store.forget(&user).map_err(refusal::of_store)?;
        let since = self.engine.forget(&user);
        dropped.requests += since.requests;
        dropped.models = dropped.models.max(since.models);
        dropped.prefixes += since.prefixes;
        Ok(Receipt {
            user: user.to_string(),
            interaction: None,
            time: Timestamp::now().to_string(),
            removed: [
                removed("history", forgotten.interactions),
                removed("buffer", summary.buffer),
                removed("adapters", forgotten.generations_removed),
                removed("records", forgotten.answers),
                removed("keys", keys as u64),
                removed("jobs", jobs as u64),
            ]
            .into_iter()
            .chain(from_memory(dropped))
            .collect(),
            relearned: Vec::new(),
            priors: forgotten.priors,
        })
    }

    fn add_interactions(&self, user: &str, texts: Vec<NewInteraction>) -> ServiceResult<Added> {
        let user = self.known(user)?;
        let mut interactions = Vec::with_capacity(texts.len());
        for new in texts {
            let has_time = new.time.is_some();
            let mut interaction = texts::interaction_of(&user, new)?;
            // Of an id that is there, a missing time is equal to any.
            if !has_time && let Some(there) = self.find(&user, interaction.id.as_str())? {
                interaction.time = there.time.parse().unwrap_or(interaction.time);
            }
            interactions.push(interaction);
        }
        self.add(interactions)
    }

    fn interactions(&self, user: &str, page: &PageRequest) -> ServiceResult<Page<InteractionInfo>> {
        let history = self.store.history(&Self::id(user)?).map_err(refusal::of_store)?;
        let mut entries = history.entries.into_iter().rev();
        if let Some(after) = &page.after
            && !entries.any(|entry| entry.stored.interaction.id.as_str() == after)
        {
            return Err(ServiceError::NotFound { what: "interaction", id: after.clone() });
        }
        let data: Vec<InteractionInfo> =
            entries.by_ref().take(page.limit).map(person::entry).collect();
        Ok(Page { data, has_more: entries.next().is_some() })
    }

    fn interaction(&self, user: &str, id: &str) -> ServiceResult<InteractionInfo> {
        let user = self.known(user)?;
        let missing = || ServiceError::NotFound { what: "interaction", id: id.into() };
        self.find(&user, id)?.ok_or_else(missing)
    }

    fn delete_interaction(&self, user: &str, id: &str) -> ServiceResult<Receipt> {
        let user = self.known(user)?;
        let known = self.find(&user, id)?;
        match (InteractionId::new(id), known) {
            (Ok(id), Some(_)) => self.forget_interaction(&user, &id),
            _ => Ok(Receipt {
                user: user.to_string(),
                interaction: Some(id.into()),
                time: Timestamp::now().to_string(),
                removed: vec![removed("history", 0), removed("records", 0)],
                relearned: Vec::new(),
                priors: Vec::new(),
            }),
        }
    }

    fn search(&self, user: &str, query: &str, limit: usize) -> ServiceResult<Vec<Found>> {
        let user = self.known(user)?;
        let (store, model) = (&*self.store, &*self.model);
        let mode = store.settings().config.search.mode;
        let history = HistorySearch::open(Some(model), store, &user, mode, true, &mut ());
        let history = history.map_err(refusal::of)?;
        let found = history.search(Some(model), query, limit, &SearchFilter::default());
        let found = found.map_err(refusal::of)?.into_iter().map(|text| Found {
            score: text.score,
            interaction: person::interaction(
                text.interaction,
                text.period.map(|period| (period, text.held_out)),
            ),
        });
        Ok(found.collect())
    }

    fn adapt(&self, user: &str, asker: spring_serve::Asker) -> ServiceResult<Adaptation> {
        let asker = Asker::new(move || asker.works());
        let asked = self.engine.adapt_for(&Self::id(user)?, Some(asker)).map_err(refusal::of)?;
        Ok(person::adaptation(asked))
    }

    fn adaptations(&self, user: &str) -> ServiceResult<Vec<Adaptation>> {
        let user = self.known(user)?;
        let all = self.engine.adaptations(Some(&user));
        Ok(all.into_iter().map(person::adaptation).collect())
    }

    fn generations(&self, user: &str) -> ServiceResult<Vec<GenerationInfo>> {
        let user = Self::id(user)?;
        let all = self.store.generations(&user).map_err(refusal::of_store)?;
        let all = all.into_iter().rev().map(|g| person::generation(&self.store, &user, g));
        all.collect::<spring_core::Result<_>>().map_err(refusal::of)
    }

    fn rollback(&self, user: &str, to: u32) -> ServiceResult<RolledBack> {
        let user = Self::id(user)?;
        let (moved, _) =
            self.before_learning(&user, || Ok(self.store.rollback(&user, Some(to))?))?;
        Ok(RolledBack { from: moved.from, to: moved.to })
    }

    fn periods(&self, user: &str) -> ServiceResult<Vec<PeriodInfo>> {
        person::periods(&self.store, &Self::id(user)?).map_err(refusal::of)
    }

    fn buffer(&self, user: &str) -> ServiceResult<Vec<BufferText>> {
        person::buffer(&self.store, &Self::id(user)?).map_err(refusal::of)
    }

    fn explain(&self, user: &str, response_id: &str, choice: u32) -> ServiceResult<Explanation> {
        let record = self
            .store
            .answer(&Self::id(user)?, &record_id(response_id, choice))
            .map_err(refusal::of_store)?
            .ok_or_else(|| ServiceError::NotFound { what: "response", id: response_id.into() })?;
        Ok(person::explanation(&*self.model, response_id, choice, record))
    }

    fn feedback(&self, user: &str, feedback: Feedback) -> ServiceResult<Added> {
        let user = self.known(user)?;
        let Feedback { response_id, choice, text } = feedback;
        let id = record_id(&response_id, choice);
        let missing = || ServiceError::NotFound { what: "response", id: response_id.clone() };
        let record =
            self.store.answer(&user, &id).map_err(refusal::of_store)?.ok_or_else(missing)?;
        let new = NewInteraction {
            id: Some(id.clone()),
            time: Some(record.time.to_string()),
            prompt: record.prompt,
            response: text,
            meta: None,
        };
        let text = texts::interaction_of(&user, new)?;
        let there = self.find(&user, &id)?;
        if there.is_none_or(|there| there.response == text.response) {
            return self.add(vec![text]);
        }
        match self.store.replace_pending(&user, &text).map_err(refusal::of_store)? {
            true => Ok(Added { added: 1, known: 0, ids: vec![id] }),
            false => Err(ServiceError::Conflict(
                "the first text for this answer has been learned; forget it before another takes \
                 its place"
                    .into(),
            )),
        }
    }

    fn consent(&self, user: &str) -> ServiceResult<Consent> {
        let user = Self::id(user)?;
        let kept = self.store.consent(&user).map_err(refusal::of_store)?;
        let contribution = self.store.contribution(&user).map_err(refusal::of_store)?;
        Ok(person::consent(kept, contribution))
    }

    fn set_consent(&self, user: &str, saying: Saying) -> ServiceResult<Consent> {
        let (id, now) = (Self::id(user)?, Timestamp::now());
        if let Some(contributes) = saying.contribute {
            self.store.set_contribution(&id, contributes, now).map_err(refusal::of_store)?;
        }
        if let Some(keep) = saying.keep_conversations {
            self.store.set_consent(&id, keep, now).map_err(refusal::of_store)?;
        }
        self.consent(user)
    }

    fn export(&self, user: &str) -> ServiceResult<Export> {
        transfer::export(&self.store, &self.known(user)?)
    }

    fn import(&self, user: &str, bytes: &mut dyn Read) -> ServiceResult<Imported> {
        let user =
            UserId::new(user).map_err(|error| ServiceError::invalid("user", error.to_string()))?;
        let fits = |adapter: &Adapter| adapter.check(&self.config, &self.model.info().fingerprint);
        transfer::import(&self.store, &user, bytes, &fits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_name_on_the_wire_has_neither_path_nor_colon() {
        for (model, name) in [
            ("embedded", "embedded"),
            ("path/to/SmolLM2/", "SmolLM2"),
            ("path/to/smollm2-q8_0.gguf", "smollm2-q8_0"),
            ("hub:owner/name", "name"),
            ("hub:owner/name/file.gguf", "file"),
            ("/", "base"),
        ] {
            assert_eq!(wire_name(model), name);
        }
    }
}
