//! People's models, ready to answer.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use spring_core::{
    Base, LanguageModel, Result, Store, UserModel, UserVersion, spring_lm::AdapterHash,
    spring_memory::UserId,
};

use crate::{cache::Cache, stats::CacheStats};

/// A person's model as of one state of the store.
#[derive(Debug)]
#[non_exhaustive]
pub struct Person {
    /// The model.
    pub model: UserModel<'static>,
    /// What it was made from; what it writes is recorded under it.
    pub version: UserVersion,
    /// Its adapter's content.
    pub adapter: Option<AdapterHash>,
}

/// Reads people's models from a state, and keeps those that were used lately.
pub(crate) struct People {
    model: Arc<dyn LanguageModel>,
    store: Arc<Store>,
    base: Arc<UserModel<'static>>,
    ready: Mutex<Ready>,
}

struct Ready {
    cache: Cache<UserId, Arc<Person>>,
    hits: u64,
    misses: u64,
}

impl fmt::Debug for People {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("People").finish_non_exhaustive()
    }
}

impl People {
    pub(crate) fn new(
        model: Arc<dyn LanguageModel>,
        store: Arc<Store>,
        budget: u64,
    ) -> Result<Self> {
        let config = store.settings().config.clone();
        let base = Arc::new(UserModel::fresh(Base::Shared(model.clone()), config, None)?);
        let ready = Mutex::new(Ready { cache: Cache::new(budget), hits: 0, misses: 0 });
        Ok(Self { model, store, base, ready })
    }

    /// The base alone.
    pub(crate) fn base(&self) -> &Arc<UserModel<'static>> {
        &self.base
    }

    /// A person's model in the generation that is in use now.
    pub(crate) fn get(&self, user: &UserId) -> Result<Arc<Person>> {
        // Cheap, and says what another process has done meanwhile.
        let version = self.store.version(user)?;
        {
            let mut ready = self.ready();
            if let Some(person) = ready.cache.get(user).filter(|p| p.version == version).cloned() {
                ready.hits += 1;
                return Ok(person);
            }
            ready.misses += 1;
        }
        self.read(user)
    }

    /// Reads a person's model, and keeps it.
    fn read(&self, user: &UserId) -> Result<Arc<Person>> {
        let snapshot = self.store.recall(user, None)?;
        let version = snapshot.version.clone();
        let base = Base::Shared(self.model.clone());
        let model = UserModel::of_snapshot(base, self.store.settings(), snapshot)?;
        let bytes = size(&model);
        let adapter = model.adapter().map(AdapterHash::of);
        let person = Arc::new(Person { model, version, adapter });
        self.ready().cache.insert(user.clone(), person.clone(), bytes);
        Ok(person)
    }

    /// Reads a person's newest model before somebody asks for it, if it was ready before.
    pub(crate) fn refresh(&self, user: &UserId) {
        if !self.ready().cache.contains(user) {
            return;
        }
        if let Err(error) = self.read(user) {
            // Whoever asks next is told.
            tracing::debug!("user {user}: the new generation was not read ahead: {error}");
            self.forget(user);
        }
    }

    pub(crate) fn forget(&self, user: &UserId) -> bool {
        self.ready().cache.remove(user).is_some()
    }

    pub(crate) fn pin(&self, user: &UserId) {
        self.ready().cache.pin(user);
    }

    pub(crate) fn unpin(&self, user: &UserId) {
        self.ready().cache.unpin(user);
    }

    pub(crate) fn stats(&self) -> CacheStats {
        let ready = self.ready();
        CacheStats {
            hits: ready.hits,
            misses: ready.misses,
            evicted: ready.cache.evicted(),
            people: ready.cache.len(),
            bytes: ready.cache.bytes(),
        }
    }

    fn ready(&self) -> MutexGuard<'_, Ready> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What every person's model takes beside what is counted.
const ALWAYS: u64 = 4096;

/// Bytes that a person's model takes, about: the adapter, and the texts of the bank with an index
/// over them.
fn size(person: &UserModel<'_>) -> u64 {
    let adapter = person.adapter().map_or(0, |adapter| 4 * adapter.num_params() as u64);
    let texts: usize = person
        .bank()
        .texts()
        .iter()
        .map(|text| text.interaction.prompt.len() + text.interaction.response.len())
        .sum();
    let items = person.bank().texts().len() as u64;
    // The words of a text and where they stand take about as much again, twice.
    ALWAYS + adapter + 3 * texts as u64 + 256 * items
}
