//! Keys and values of what contexts begin with, for requests that begin alike: a conversation that
//! goes on, the same instructions above another question.
//!
//! A context is read in parts of a fixed size, and what is kept of one part is a copy. A request
//! that begins with kept parts copies them into its rows, so that nothing has to stay for its sake,
//! and what it reads behind them it reads as it would have without them: its text is the same to
//! the last bit on the CPU.

use std::collections::{HashMap, HashSet};

use spring_core::{
    TextGeneration, UserVersion,
    spring_lm::{AdapterHash, ContextPart, Session},
    spring_memory::UserId,
};
use spring_numerics::digest::Digest;

use crate::{cache::Cache, stats::PrefixStats};

/// Whose contexts they are. Nobody begins with what another has read: by how soon an answer comes
/// one could tell what the other has asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Owner {
    /// Who is asked as this user.
    User(UserId),
    /// Who asks the base and is this user of the state, whatever the key.
    Known(UserId),
    /// Who asks the base with this key by this name, and is no user of the state: another key's
    /// people of the same name are others, as where each gateway numbers its own.
    Stranger { key: String, name: String },
    /// Who asks the base with this key, and nobody is named.
    Key(String),
}

/// What a request's contexts are read with.
#[derive(Debug, Clone)]
pub(crate) struct Reader {
    pub(crate) owner: Owner,
    /// The state of the person's model: in another one, texts may be forgotten.
    pub(crate) version: Option<UserVersion>,
    pub(crate) adapter: Option<AdapterHash>,
}

/// What a part holds: the adapter, and all tokens up to its end.
type Name = [u8; 32];

/// The whole parts of the contexts of one text.
#[derive(Debug)]
pub(crate) struct Reading {
    reader: Reader,
    /// For each row.
    rows: Vec<Parts>,
    part_length: usize,
}

#[derive(Debug)]
struct Parts {
    names: Vec<Name>,
    /// How many of them the row began with.
    found: usize,
    /// How many of them need not be looked at any more.
    done: usize,
}

impl Reading {
    /// Tokens of the prompt, as one counts them who knows of no other branch, that were not read.
    pub(crate) fn cached_tokens(&self) -> usize {
        self.rows.first().map_or(0, |parts| parts.found * self.part_length)
    }

    /// The same over all branches.
    pub(crate) fn all_cached_tokens(&self) -> usize {
        self.rows.iter().map(|parts| parts.found * self.part_length).sum()
    }
}

/// What is kept, within a budget.
pub(crate) struct Prefixes {
    cache: Cache<(Owner, Name), ContextPart>,
    owned: HashMap<Owner, Owned>,
    queried: u64,
    hit: u64,
}

/// What is kept of one owner, all of one state.
struct Owned {
    version: Option<UserVersion>,
    names: HashSet<Name>,
}

impl Prefixes {
    /// Nothing yet, and at most `budget` bytes; 0 for never anything.
    pub(crate) fn new(budget: u64) -> Self {
        Self { cache: Cache::new(budget), owned: HashMap::new(), queried: 0, hit: 0 }
    }

    /// Lets the rows of a text that are to read their contexts begin with what is kept of them.
    ///
    /// # Errors
    ///
    /// If the session does not take what it gave.
    pub(crate) fn begin(
        &mut self,
        reader: &Reader,
        text: &TextGeneration,
        session: &mut dyn Session,
    ) -> spring_core::Result<Reading> {
        let part_length = session.part_length().filter(|_| self.cache.budget() > 0).unwrap_or(0);
        let mut reading = Reading { reader: reader.clone(), rows: Vec::new(), part_length };
        if part_length == 0 {
            return Ok(reading);
        }
        let is_old = |owned: &Owned| owned.version != reader.version;
        if self.owned.get(&reader.owner).is_some_and(is_old) {
            self.forget(&reader.owner);
        }
        for ((context, adapter), row) in text.branches().zip(text.rows()) {
            // The base of a contrast reads the same tokens as the person's model, to other numbers.
            let adapter = adapter.and(reader.adapter.as_ref());
            let names = names(adapter, context, part_length);
            // Something is left to read: the last token's distribution is not kept.
            let most = context.len().saturating_sub(1) / part_length;
            let kept: Vec<ContextPart> = names
                .iter()
                .take(most)
                .map_while(|name| self.cache.get(&(reader.owner.clone(), *name)).cloned())
                .collect();
            let found = match kept.is_empty() {
                true => 0,
                // A session may be another's, and is not trusted to take no more than it was given.
                false => session.begin_behind(*row, &kept)?.min(kept.len()),
            };
            self.queried += context.len() as u64;
            self.hit += (found * part_length) as u64;
            self.touch(&reader.owner, &names[..found]);
            reading.rows.push(Parts { names, found, done: found });
        }
        Ok(reading)
    }

    /// Keeps those parts that the rows of a text have read since.
    pub(crate) fn keep(
        &mut self,
        reading: &mut Reading,
        text: &TextGeneration,
        session: &dyn Session,
    ) {
        let Reader { owner, version, .. } = &reading.reader;
        for (parts, row) in reading.rows.iter_mut().zip(text.rows()) {
            while let Some(name) = parts.names.get(parts.done) {
                let key = (owner.clone(), *name);
                if !self.cache.contains(&key) {
                    let Some(part) = session.part(*row, parts.done) else { break };
                    let owned = self.owned.entry(owner.clone()).or_insert_with(|| Owned {
                        version: version.clone(),
                        names: HashSet::new(),
                    });
                    // A newer state is in use; what is read here is of no use any more.
                    if owned.version != *version {
                        break;
                    }
                    owned.names.insert(*name);
                    let bytes = part.bytes();
                    for (owner, name) in self.cache.insert(key, part, bytes) {
                        self.gone(&owner, &name);
                    }
                }
                parts.done += 1;
                let (names, done) = (&parts.names, parts.done);
                self.touch(owner, &names[..done]);
            }
        }
    }

    /// Makes these the last to go, the first of them last of all: without it the others are of no
    /// use.
    fn touch(&mut self, owner: &Owner, names: &[Name]) {
        for name in names.iter().rev() {
            self.cache.get(&(owner.clone(), *name));
        }
    }

    fn gone(&mut self, owner: &Owner, name: &Name) {
        if let Some(owned) = self.owned.get_mut(owner) {
            owned.names.remove(name);
            if owned.names.is_empty() {
                self.owned.remove(owner);
            }
        }
    }

    /// Drops all that is kept of a user, under whatever key; gives how many parts that was.
    pub(crate) fn forget_user(&mut self, user: &UserId) -> usize {
        let own = [Owner::User(user.clone()), Owner::Known(user.clone())];
        let mut dropped: usize = own.iter().map(|owner| self.forget(owner)).sum();
        // From before they were a user.
        let is_theirs =
            |owner: &&Owner| matches!(owner, Owner::Stranger { name, .. } if name == user.as_str());
        let strangers: Vec<Owner> = self.owned.keys().filter(is_theirs).cloned().collect();
        dropped += strangers.iter().map(|owner| self.forget(owner)).sum::<usize>();
        dropped
    }

    /// Drops all that is kept of one owner; gives how many parts that was.
    pub(crate) fn forget(&mut self, owner: &Owner) -> usize {
        let names = self.owned.remove(owner).into_iter().flat_map(|owned| owned.names);
        names.filter(|name| self.cache.remove(&(owner.clone(), *name)).is_some()).count()
    }

    pub(crate) fn stats(&self) -> PrefixStats {
        PrefixStats {
            queried: self.queried,
            hit: self.hit,
            evicted: self.cache.evicted(),
            parts: self.cache.len(),
            bytes: self.cache.bytes(),
        }
    }
}

/// The names of a context's whole parts.
fn names(adapter: Option<&AdapterHash>, context: &[u32], part_length: usize) -> Vec<Name> {
    let mut digest = Digest::new();
    digest.update_part(adapter.map_or(&[][..], |adapter| adapter.as_bytes()));
    let name = |part: &[u32]| {
        for token in part {
            digest.update(token.to_le_bytes());
        }
        digest.clone().bytes()
    };
    context.chunks_exact(part_length).map(name).collect()
}
