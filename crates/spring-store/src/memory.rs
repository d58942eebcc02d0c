//! Rows in the process's memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::{Bound, ControlFlow},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use spring_memory::UserId;

use crate::{
    Settings, Store,
    backend::{
        Backend, ConsentRow, Durability, Extent, Fault, GenerationRow, Holder, InteractionRow,
        KeyRow, LearnedRow, LeaseRow, MemberRow, MemoriesRow, MemoriesSize, Outcome, PriorRow,
        ReplicaRow, Rows, RowsMut, SettingsRow, Sum, Summed, Text, Texts, UNJUDGED, UserRow, Users,
        Visit,
    },
    store::{is_new, is_unlearned, settings_row},
};

/// A [`Backend`] in the process's memory: the simplest one there is, which the others are tested
/// against. Its clones keep the same rows.
///
/// Readers see the rows as of their call and wait for nobody; what a transaction reads is a copy
/// that shares the users that nobody changes meanwhile.
#[derive(Debug, Clone)]
pub struct Memory {
    label: String,
    state: Arc<Mutex<Arc<State>>>,
    /// Held by the one who writes.
    writer: Arc<Mutex<()>>,
}

/// A state in the process's memory.
pub type MemoryStore = Store<Memory>;

#[derive(Debug, Clone)]
struct State {
    settings: SettingsRow,
    names: BTreeMap<UserId, i64>,
    users: BTreeMap<i64, Arc<UserRows>>,
    keys: BTreeMap<String, KeyRow>,
    /// With when each was put there.
    replicas: BTreeMap<String, (ReplicaRow, Instant)>,
    priors: BTreeMap<u32, PriorRows>,
    next_key: i64,
    next_answer: i64,
    /// Seconds by which its clock is ahead of this machine's.
    #[cfg(test)]
    ahead: i64,
}

#[derive(Debug, Clone)]
struct UserRows {
    row: UserRow,
    interactions: BTreeMap<u64, InteractionRow>,
    ids: BTreeMap<String, u64>,
    periods: BTreeSet<u32>,
    generations: BTreeMap<u32, Learned>,
    answers: BTreeMap<i64, Summed<String>>,
    embeddings: BTreeMap<(u64, String), Summed<Vec<u8>>>,
    lease: Option<LeaseRow>,
    graph: Option<Summed<String>>,
    consent: Option<ConsentRow>,
    contribution: Option<ConsentRow>,
}

#[derive(Debug, Clone)]
struct PriorRows {
    row: PriorRow,
    record: Arc<Summed<String>>,
    adapter: Arc<Summed<Vec<u8>>>,
}

#[derive(Debug, Clone)]
struct Learned {
    parent: u32,
    period: u32,
    sum: Sum,
    record: Summed<String>,
    memories: Option<MemoriesRow>,
}

impl Memory {
    /// A state without users.
    pub fn new(settings: SettingsRow) -> Self {
        let state = State {
            settings,
            names: BTreeMap::new(),
            users: BTreeMap::new(),
            keys: BTreeMap::new(),
            replicas: BTreeMap::new(),
            priors: BTreeMap::new(),
            next_key: 1,
            next_answer: 1,
            #[cfg(test)]
            ahead: 0,
        };
        let state = Arc::new(Mutex::new(Arc::new(state)));
        Self { label: "memory".into(), state, writer: Arc::default() }
    }

    fn now(&self) -> MutexGuard<'_, Arc<State>> {
        // A value is put there whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store<Memory> {
    /// A state in the process's memory, for as long as the value or a
    /// [clone of its backend](Memory) lives.
    ///
    /// # Errors
    ///
    /// [`Error::State`](crate::Error::State) if the settings cannot be stored.
    pub fn in_memory(settings: &Settings) -> crate::Result<Self> {
        let row = settings_row(settings).map_err(|fault| fault.at("memory"))?;
        Self::new(Memory::new(row))
    }
}

impl Backend for Memory {
    fn label(&self) -> &str {
        &self.label
    }

    fn read(&self, work: &mut dyn FnMut(&dyn Rows) -> Outcome<()>) -> Outcome<()> {
        let state = Arc::clone(&self.now());
        work(&*state)
    }

    fn write(
        &self,
        _: Durability,
        work: &mut dyn FnMut(&mut dyn RowsMut) -> Outcome<()>,
    ) -> Outcome<()> {
        let _alone = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = State::clone(&self.now());
        work(&mut state)?;
        *self.now() = Arc::new(state);
        Ok(())
    }

    fn scratch(&self, settings: &SettingsRow) -> Outcome<Box<dyn Backend>> {
        Ok(Box::new(Self::new(settings.clone())))
    }

    fn holder(&self) -> Holder {
        let process = std::process::id();
        Holder { name: format!("process {process}"), process, ..Holder::default() }
    }
}

impl State {
    fn rows_of(&self, key: i64) -> Option<&UserRows> {
        self.users.get(&key).map(|user| &**user)
    }

    fn user_mut(&mut self, key: i64) -> Outcome<&mut UserRows> {
        let user = self.users.get_mut(&key).ok_or_else(|| missing("user", key))?;
        Ok(Arc::make_mut(user))
    }
}

fn missing(what: &str, number: impl std::fmt::Display) -> Fault {
    Fault::Unusable(format!("a row belongs to {what} {number}, which is not there"))
}

fn taken(what: &str, number: impl std::fmt::Display) -> Fault {
    Fault::Unusable(format!("there is a {what} {number} already"))
}

impl Rows for State {
    fn now(&self) -> jiff::Timestamp {
        let now = jiff::Timestamp::now();
        #[cfg(test)]
        let now = now + jiff::SignedDuration::from_secs(self.ahead);
        now
    }

    fn settings(&self) -> Outcome<SettingsRow> {
        Ok(self.settings.clone())
    }

    fn users(&self, which: Users, after: Option<&UserId>, limit: usize) -> Outcome<Vec<UserId>> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut page = Vec::new();
        for (name, key) in self.names.range((after, Bound::Unbounded)) {
            if page.len() == limit {
                break;
            }
            let is_due = match (which, self.rows_of(*key)) {
                (Users::All, _) => true,
                (Users::Due | Users::New | Users::Unjudged, None) => false,
                (Users::Unjudged, Some(user)) => {
                    let record = self.record(*key, user.row.generation)?;
                    record.is_some_and(|record| record.value.contains(UNJUDGED))
                }
                (which, Some(user)) => {
                    let (periods, generations) = (self.periods(*key)?, self.generations(*key)?);
                    let left = match which {
                        Users::New => is_new(&periods, &generations),
                        _ => is_unlearned(&periods, &generations, user.row.generation),
                    };
                    user.row.pending > 0 || left
                }
            };
            if is_due {
                page.push(name.clone());
            }
        }
        Ok(page)
    }

    fn user(&self, name: &UserId) -> Outcome<Option<UserRow>> {
        let user = self.names.get(name).and_then(|key| self.rows_of(*key));
        Ok(user.map(|user| user.row.clone()))
    }

    fn extent(&self, user: i64) -> Outcome<Extent> {
        let Some(user) = self.rows_of(user) else { return Ok(Extent::default()) };
        let times = || user.interactions.values().map(|row| (row.seconds, row.nanoseconds));
        Ok(Extent {
            interactions: user.interactions.len() as u64,
            periods: user.periods.len() as u64,
            first: times().min(),
            last: times().max(),
        })
    }

    fn interactions(
        &self,
        user: i64,
        which: Texts,
        visit: Visit<'_, InteractionRow>,
    ) -> Outcome<()> {
        let Some(user) = self.rows_of(user) else { return Ok(()) };
        let is_asked = |row: &&InteractionRow| match which {
            Texts::BySeq | Texts::ByTime => true,
            Texts::Pending => row.place.is_none(),
            Texts::Period(number) => row.place.is_some_and(|place| place.0 == number),
        };
        let mut rows: Vec<&InteractionRow> = user.interactions.values().filter(is_asked).collect();
        if which != Texts::BySeq {
            rows.sort_by_key(|row| (row.seconds, row.nanoseconds, row.seq));
        }
        rows.into_iter().try_for_each(|row| visit(row.clone()))
    }

    fn interaction(&self, user: i64, which: Text<'_>) -> Outcome<Option<InteractionRow>> {
        let Some(user) = self.rows_of(user) else { return Ok(None) };
        let seq = match which {
            Text::Seq(seq) => Some(seq),
            Text::Id(id) => user.ids.get(id).copied(),
        };
        Ok(seq.and_then(|seq| user.interactions.get(&seq)).cloned())
    }

    fn periods(&self, user: i64) -> Outcome<Vec<u32>> {
        Ok(self.rows_of(user).map_or(Vec::new(), |user| user.periods.iter().copied().collect()))
    }

    fn generations(&self, user: i64) -> Outcome<Vec<GenerationRow>> {
        let Some(user) = self.rows_of(user) else { return Ok(Vec::new()) };
        let row = |(number, learned): (&u32, &Learned)| GenerationRow {
            number: *number,
            parent: learned.parent,
            period: learned.period,
            record: learned.record.value.len() as u64,
            memories: learned.memories.as_ref().map(|memories| MemoriesSize {
                buffered: memories.buffered,
                adapter: memories.adapter.len() as u64,
                buffer: (memories.buffer.len() + memories.calibration.len()) as u64,
            }),
            sum: learned.sum,
        };
        Ok(user.generations.iter().map(row).collect())
    }

    fn record(&self, user: i64, generation: u32) -> Outcome<Option<Summed<String>>> {
        let learned = self.rows_of(user).and_then(|user| user.generations.get(&generation));
        Ok(learned.map(|learned| learned.record.clone()))
    }

    fn memories(&self, user: i64, generation: u32) -> Outcome<Option<MemoriesRow>> {
        let learned = self.rows_of(user).and_then(|user| user.generations.get(&generation));
        Ok(learned.and_then(|learned| learned.memories.clone()))
    }

    fn answers(
        &self,
        user: i64,
        newest_first: bool,
        visit: &mut dyn FnMut(i64, Summed<String>) -> Outcome<ControlFlow<()>>,
    ) -> Outcome<()> {
        let Some(user) = self.rows_of(user) else { return Ok(()) };
        let mut answers: Vec<_> = user.answers.iter().collect();
        if newest_first {
            answers.reverse();
        }
        for (key, record) in answers {
            if visit(*key, record.clone())?.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn embedding(&self, user: i64, seq: u64, base: &str) -> Outcome<Option<Summed<Vec<u8>>>> {
        let key = (seq, base.to_owned());
        Ok(self.rows_of(user).and_then(|user| user.embeddings.get(&key)).cloned())
    }

    fn lease(&self, user: i64) -> Outcome<Option<LeaseRow>> {
        Ok(self.rows_of(user).and_then(|user| user.lease.clone()))
    }

    fn graph(&self, user: i64) -> Outcome<Option<Summed<String>>> {
        Ok(self.rows_of(user).and_then(|user| user.graph.clone()))
    }

    fn consent(&self, user: i64) -> Outcome<Option<ConsentRow>> {
        Ok(self.rows_of(user).and_then(|user| user.consent))
    }

    fn contribution(&self, user: i64) -> Outcome<Option<ConsentRow>> {
        Ok(self.rows_of(user).and_then(|user| user.contribution))
    }

    fn priors(&self) -> Outcome<Vec<PriorRow>> {
        Ok(self.priors.values().map(|prior| prior.row.clone()).collect())
    }

    fn prior_record(&self, number: u32) -> Outcome<Option<Summed<String>>> {
        Ok(self.priors.get(&number).map(|prior| Summed::clone(&prior.record)))
    }

    fn prior_adapter(&self, number: u32) -> Outcome<Option<Summed<Vec<u8>>>> {
        Ok(self.priors.get(&number).map(|prior| Summed::clone(&prior.adapter)))
    }

    fn users_with(&self, text: &str) -> Outcome<u64> {
        let is_in = |learned: &Learned| learned.parent == 0 && learned.record.value.contains(text);
        let has = |user: &&Arc<UserRows>| user.generations.values().any(is_in);
        Ok(self.users.values().filter(has).count() as u64)
    }

    fn keys(&self) -> Outcome<Vec<KeyRow>> {
        Ok(self.keys.values().cloned().collect())
    }

    fn key(&self, hash: &[u8]) -> Outcome<Option<KeyRow>> {
        Ok(self.keys.values().find(|key| key.hash == hash).cloned())
    }

    fn replicas(&self, within: Duration) -> Outcome<Vec<ReplicaRow>> {
        let recent = self.replicas.values().filter(|(_, since)| since.elapsed() <= within);
        Ok(recent.map(|(row, _)| row.clone()).collect())
    }
}

impl RowsMut for State {
    fn put_settings(&mut self, row: &SettingsRow) -> Outcome<()> {
        self.settings = row.clone();
        Ok(())
    }

    fn forget_bases(&mut self) -> Outcome<()> {
        for user in self.users.values_mut() {
            for row in Arc::make_mut(user).interactions.values_mut() {
                (row.base, row.sums.base) = (None, None);
            }
        }
        Ok(())
    }

    fn add_user(&mut self, name: &UserId, removals: u64) -> Outcome<UserRow> {
        if self.names.contains_key(name) {
            return Err(taken("user", name));
        }
        let (key, name) = (self.next_key, name.clone());
        let row = UserRow { key, name, next_seq: 1, generation: 0, pending: 0, removals, sum: 0 };
        self.next_key += 1;
        self.names.insert(row.name.clone(), key);
        let rows = UserRows {
            row: row.clone(),
            interactions: BTreeMap::new(),
            ids: BTreeMap::new(),
            periods: BTreeSet::new(),
            generations: BTreeMap::new(),
            answers: BTreeMap::new(),
            embeddings: BTreeMap::new(),
            lease: None,
            graph: None,
            consent: None,
            contribution: None,
        };
        self.users.insert(key, Arc::new(rows));
        Ok(row)
    }

    fn put_user(&mut self, user: &UserRow) -> Outcome<()> {
        self.user_mut(user.key)?.row = user.clone();
        Ok(())
    }

    fn delete_user(&mut self, user: i64) -> Outcome<()> {
        self.users.remove(&user);
        self.names.retain(|_, key| *key != user);
        self.keys.retain(|_, key| key.user != Some(user));
        Ok(())
    }

    fn put_interaction(&mut self, user: i64, row: &InteractionRow) -> Outcome<()> {
        let user = self.user_mut(user)?;
        if user.interactions.contains_key(&row.seq) || user.ids.contains_key(&row.id) {
            return Err(taken("interaction", &row.id));
        }
        user.ids.insert(row.id.clone(), row.seq);
        let mut row = InteractionRow { place: None, ..row.clone() };
        row.sums.place = None;
        user.interactions.insert(row.seq, row);
        Ok(())
    }

    fn set_base(&mut self, user: i64, seq: u64, base: Summed<f64>) -> Outcome<bool> {
        let row = self.user_mut(user)?.interactions.get_mut(&seq);
        let set = |row: &mut InteractionRow| {
            (row.base, row.sums.base) = (Some(base.value), Some(base.sum));
        };
        Ok(row.map(set).is_some())
    }

    fn delete_interaction(&mut self, user: i64, seq: u64) -> Outcome<()> {
        let user = self.user_mut(user)?;
        if let Some(row) = user.interactions.remove(&seq) {
            user.ids.remove(&row.id);
        }
        user.embeddings.retain(|(of, _), _| *of != seq);
        Ok(())
    }

    fn put_period(&mut self, user: i64, number: u32, members: &[MemberRow]) -> Outcome<()> {
        let user = self.user_mut(user)?;
        user.periods.insert(number);
        for &MemberRow { seq, held_out, sum } in members {
            let row = user.interactions.get_mut(&seq).ok_or_else(|| missing("interaction", seq))?;
            if row.place.is_some() {
                return Err(taken("place of interaction", seq));
            }
            (row.place, row.sums.place) = (Some((number, held_out)), Some(sum));
        }
        Ok(())
    }

    fn put_generation(&mut self, user: i64, row: &LearnedRow) -> Outcome<()> {
        let LearnedRow { number, parent, period, sum, record } = row.clone();
        let user = self.user_mut(user)?;
        if !user.periods.contains(&period) {
            return Err(missing("period", period));
        }
        let memories = user.generations.remove(&number).and_then(|learned| learned.memories);
        let learned = Learned { parent, period, sum, record, memories };
        user.generations.insert(number, learned);
        Ok(())
    }

    fn put_memories(
        &mut self,
        user: i64,
        generation: u32,
        row: Option<&MemoriesRow>,
    ) -> Outcome<()> {
        match self.user_mut(user)?.generations.get_mut(&generation) {
            Some(learned) => learned.memories = row.cloned(),
            None if row.is_none() => {}
            None => return Err(missing("generation", generation)),
        }
        Ok(())
    }

    fn put_answer(&mut self, user: i64, record: Summed<&str>) -> Outcome<()> {
        let key = self.next_answer;
        let record = Summed { value: record.value.to_owned(), sum: record.sum };
        self.user_mut(user)?.answers.insert(key, record);
        self.next_answer += 1;
        Ok(())
    }

    fn delete_answer(&mut self, user: i64, key: i64) -> Outcome<()> {
        self.user_mut(user)?.answers.remove(&key);
        Ok(())
    }

    fn put_embedding(
        &mut self,
        user: i64,
        seq: u64,
        base: &str,
        vector: Summed<&[u8]>,
    ) -> Outcome<()> {
        let user = self.user_mut(user)?;
        if !user.interactions.contains_key(&seq) {
            return Err(missing("interaction", seq));
        }
        let vector = Summed { value: vector.value.to_owned(), sum: vector.sum };
        user.embeddings.insert((seq, base.into()), vector);
        Ok(())
    }

    fn swap_lease(&mut self, user: i64, expected: Option<i64>, lease: &LeaseRow) -> Outcome<bool> {
        let user = self.user_mut(user)?;
        let is_expected = user.lease.as_ref().map(|held| held.token) == expected;
        if is_expected {
            user.lease = Some(lease.clone());
        }
        Ok(is_expected)
    }

    fn put_graph(&mut self, user: i64, stamp: Option<Summed<&str>>) -> Outcome<()> {
        let owned = |Summed { value, sum }: Summed<&str>| Summed { value: value.to_owned(), sum };
        self.user_mut(user)?.graph = stamp.map(owned);
        Ok(())
    }

    fn put_consent(&mut self, user: i64, row: &ConsentRow) -> Outcome<()> {
        self.user_mut(user)?.consent = Some(*row);
        Ok(())
    }

    fn put_contribution(&mut self, user: i64, row: &ConsentRow) -> Outcome<()> {
        self.user_mut(user)?.contribution = Some(*row);
        Ok(())
    }

    fn add_prior(
        &mut self,
        row: &PriorRow,
        record: Summed<&str>,
        adapter: Summed<&[u8]>,
    ) -> Outcome<()> {
        let is_taken = |prior: &PriorRows| prior.row.number == row.number || prior.row.id == row.id;
        if self.priors.values().any(is_taken) {
            return Err(taken("prior", row.number));
        }
        let record = Arc::new(Summed { value: record.value.to_owned(), sum: record.sum });
        let adapter = Arc::new(Summed { value: adapter.value.to_owned(), sum: adapter.sum });
        self.priors.insert(row.number, PriorRows { row: row.clone(), record, adapter });
        Ok(())
    }

    fn put_prior(&mut self, row: &PriorRow) -> Outcome<()> {
        let prior = self.priors.get_mut(&row.number);
        prior.ok_or_else(|| missing("prior", row.number))?.row = row.clone();
        Ok(())
    }

    fn put_prior_record(&mut self, number: u32, record: Summed<&str>) -> Outcome<()> {
        let prior = self.priors.get_mut(&number).ok_or_else(|| missing("prior", number))?;
        prior.record = Arc::new(Summed { value: record.value.to_owned(), sum: record.sum });
        Ok(())
    }

    fn delete_prior(&mut self, number: u32) -> Outcome<()> {
        self.priors.remove(&number);
        Ok(())
    }

    fn put_key(&mut self, row: &KeyRow) -> Outcome<()> {
        if let Some(there) = self.keys.get_mut(&row.id) {
            (there.record, there.sum) = (row.record.clone(), row.sum);
            return Ok(());
        }
        if self.keys.values().any(|key| key.hash == row.hash) {
            return Err(taken("key of the same hash as", &row.id));
        }
        if let Some(user) = row.user {
            self.user_mut(user)?;
        }
        self.keys.insert(row.id.clone(), row.clone());
        Ok(())
    }

    fn put_replica(&mut self, row: &ReplicaRow, lasts: Duration) -> Outcome<()> {
        self.replicas.retain(|_, (_, since)| since.elapsed() <= lasts);
        self.replicas.insert(row.url.clone(), (row.clone(), Instant::now()));
        Ok(())
    }

    fn delete_replica(&mut self, url: &str) -> Outcome<()> {
        self.replicas.remove(url);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use jiff::{Timestamp, ToSpan as _};

    use super::*;
    use crate::{
        Error,
        contract::{Subject, samples::*},
    };

    /// The backends of the states, each under a label of its own.
    #[derive(Default)]
    struct InMemory(Mutex<BTreeMap<String, Memory>>);

    impl Subject for InMemory {
        fn create(&self, settings: &Settings) -> Box<Store> {
            let mut states = self.0.lock().unwrap();
            let label = format!("memory {}", states.len());
            let mut memory = Memory::new(settings_row(settings).unwrap());
            memory.label = label.clone();
            states.insert(label, memory.clone());
            Box::new(Store::new(memory).unwrap())
        }

        fn again(&self, store: &Store) -> Option<Box<Store>> {
            let states = self.0.lock().unwrap();
            let memory = states.get(store.backend().label())?.clone();
            Some(Box::new(Store::new(memory).unwrap()))
        }
    }

    crate::contract_tests!(InMemory);

    /// Machines whose clocks differ by more than a lease lasts take nobody from each other.
    #[test]
    fn leases_end_by_the_clock_of_the_state_and_no_machine_s() {
        let memory = Memory::new(settings_row(&settings()).unwrap());
        let store = Store::new(memory.clone()).unwrap();
        let minutes = |minutes: i64| Arc::make_mut(&mut memory.now()).ahead = 60 * minutes;
        with_periods(&store, &["ada"], 1);
        let ada = user("ada");
        let year = 365 * 24 * 60;
        minutes(year);
        let mut lease = store.claim(&[]).unwrap().unwrap();
        minutes(year + 9);
        assert!(matches!(store.lease(&ada), Err(Error::Leased { .. })));
        assert!(!store.is_claimable(&[]).unwrap());
        store.renew(&mut lease).unwrap();
        minutes(year + 18);
        assert_eq!(store.claim(&[]).unwrap(), None);
        minutes(year + 20);
        let taken = store.claim(&[]).unwrap().unwrap();
        assert!(taken.token > lease.token);
        assert!(matches!(store.renew(&mut lease), Err(Error::Conflict { .. })));
        // A year ahead, and not a year from now.
        assert!(store.unlock(&ada).unwrap().unwrap().1 > Timestamp::now() + 24.hours());
    }
}
