//! The contract of whoever keeps the rows. It knows nothing of the method: every rule stands above
//! it, in [`Store`](crate::Store).

use std::{ops::ControlFlow, path::Path, time::Duration};

use jiff::Timestamp;
use spring_memory::UserId;

use crate::{Error, TransferError};

/// A result inside a transaction.
pub type Outcome<T> = Result<T, Fault>;

/// What ends a transaction early.
#[derive(Debug)]
#[non_exhaustive]
pub enum Fault {
    /// Somebody else did not finish writing within this time.
    Busy(Duration),
    /// What is stored does not read as what was once written there.
    Damaged {
        /// The table that it is in.
        table: &'static str,
        /// Whose row it is; a backend leaves it out, the rules above fill it in.
        user: Option<UserId>,
        /// What is wrong with it.
        detail: String,
    },
    /// The rows cannot be reached now and may be later: in words, with what to do.
    Unreachable(String),
    /// The backend cannot do this: in words, with what to do.
    Unusable(String),
    /// There is no such state.
    Missing,
    /// There is no such user.
    UnknownUser(String),
    /// Complete as it is.
    Other(Error),
}

impl Fault {
    /// Damage in a row of a table.
    pub fn damaged(table: &'static str, detail: impl std::fmt::Display) -> Self {
        Self::Damaged { table, user: None, detail: detail.to_string() }
    }

    /// The error of the state of that label.
    pub fn at(self, label: &str) -> Error {
        let state = label.to_owned();
        match self {
            Self::Other(error) => error,
            Self::Busy(waited) => Error::Busy { state, waited },
            Self::Missing => Error::Missing { state },
            Self::UnknownUser(user) => Error::UnknownUser { user, state },
            Self::Unreachable(reason) => Error::Unreachable { state, reason },
            Self::Unusable(reason) => Error::State { state, reason },
            Self::Damaged { table, user, detail } => Error::Damaged { state, table, user, detail },
        }
    }

    /// Says whose rows are damaged. The settings and the priors are nobody's.
    #[must_use]
    pub fn of_user(self, name: &UserId) -> Self {
        match self {
            Self::Damaged { table, user: None, detail }
                if !["settings", "priors"].contains(&table) =>
            {
                Self::Damaged { table, user: Some(name.clone()), detail }
            }
            other => other,
        }
    }

    /// Says what of a table is damaged, such as `generation 3`.
    #[must_use]
    pub fn of_item(self, item: impl std::fmt::Display) -> Self {
        match self {
            Self::Damaged { table, user, detail } => {
                Self::Damaged { table, user, detail: format!("{item}: {detail}") }
            }
            other => other,
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl From<TransferError> for Fault {
    fn from(error: TransferError) -> Self {
        Self::Other(error.into())
    }
}

/// What a state is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading; it works without permission to write too.
    ReadOnly,
    /// Reading and writing.
    ReadWrite,
}

/// How long a transaction lasts against a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// From its end on.
    Power,
    /// A crash of the program does not undo it, a power cut may. For leases, which a power cut ends
    /// anyway.
    Process,
}

/// Keeps rows, and changes them in transactions.
///
/// Everything that is stored passes through [`Rows`] and [`RowsMut`]: numbers, texts and bytes
/// under a user's key. Nothing in them has a meaning to a backend; that goes for the [`Sum`] beside
/// each of them too, which it stores and gives back as it is. All methods block; in an asynchronous
/// program they are called where blocking is allowed.
pub trait Backend: Send + Sync {
    /// How errors name the state: a file, an address without its password.
    fn label(&self) -> &str;

    /// Runs `work` on one state of all rows, as of its beginning.
    ///
    /// # Errors
    ///
    /// What `work` returns, or why the rows cannot be read.
    fn read(&self, work: &mut dyn FnMut(&dyn Rows) -> Outcome<()>) -> Outcome<()>;

    /// Runs `work` alone among all writers; what it did is undone unless it ends well. A backend
    /// may undo it and run it again, from its beginning.
    ///
    /// # Errors
    ///
    /// What `work` returns, or why the rows cannot be written; nothing is changed then.
    fn write(
        &self,
        durability: Durability,
        work: &mut dyn FnMut(&mut dyn RowsMut) -> Outcome<()>,
    ) -> Outcome<()>;

    /// An empty backend for as long as the value lives, in which a user is put together before
    /// anybody is kept from writing, such as a [`Memory`](crate::Memory).
    ///
    /// # Errors
    ///
    /// If there is no room for it.
    fn scratch(&self, settings: &SettingsRow) -> Outcome<Box<dyn Backend>>;

    /// Who takes leases through this value.
    fn holder(&self) -> Holder;

    /// Whether a holder certainly runs no more, so that its lease is free at once: a hint. False
    /// where that cannot be known.
    fn is_gone(&self, _: &Holder) -> bool {
        false
    }

    /// Looks for damage that no single row shows.
    ///
    /// # Errors
    ///
    /// The first that is found.
    fn check(&self) -> Outcome<()> {
        Ok(())
    }

    /// Finishes removals that are committed: what rows do not show, such as free pages and files
    /// beside them, holds nothing of what was removed any more. Gives what stands in the way, in
    /// words; it is tried again when the state is next opened for writing.
    fn finish_removals(&self) -> Option<String> {
        None
    }

    /// A folder on this machine, private and perhaps not there yet, for what can be made again at
    /// any time. A file in it whose name begins with a user's [key](UserRow::key) and a dot goes
    /// with the user's [graph](Rows::graph). `None` where there is no such place.
    fn cache(&self) -> Option<&Path> {
        None
    }
}

/// Who holds a lease.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holder {
    /// For people: the process and its machine.
    pub name: String,
    /// What a process number means something within; empty where that is not known.
    pub place: String,
    /// The process number.
    pub process: u32,
    /// When the process started, in ticks of the place: numbers are given again.
    pub started: i64,
}

/// The checksum of a row, or of a part of one: 64 bits. The rules above lay it beside what is
/// written and compare it when that is read.
pub type Sum = i64;

/// A value and its checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summed<T> {
    /// The value.
    pub value: T,
    /// Its checksum.
    pub sum: Sum,
}

/// A value whose checksum is to be computed.
impl<T> From<T> for Summed<T> {
    fn from(value: T) -> Self {
        Self { value, sum: 0 }
    }
}

/// What the state was made with: one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsRow {
    /// The base model's name.
    pub model: String,
    /// Fingerprint of base and tokenizer.
    pub fingerprint: String,
    /// The method's settings, as JSON.
    pub config: String,
    /// Removals of users and of single texts, counted.
    pub removals: u64,
    /// The checksum of all that.
    pub sum: Sum,
}

/// A user's own row; everything else of the user hangs on its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRow {
    /// Names the user in all other calls; never given twice while the user is there.
    pub key: i64,
    /// The user's name. It does not change.
    pub name: UserId,
    /// The sequence number of the next interaction.
    pub next_seq: u64,
    /// The generation in use; 0 for none.
    pub generation: u32,
    /// Interactions in no period.
    pub pending: u64,
    /// The state's count of removals when the user was added or last lost a text.
    pub removals: u64,
    /// The checksum of all that.
    pub sum: Sum,
}

/// An interaction.
#[derive(Debug, Clone, PartialEq)]
pub struct InteractionRow {
    /// Its sequence number.
    pub seq: u64,
    /// Its id.
    pub id: String,
    /// Whole seconds of its time since 1970 UTC, rounded towards zero.
    pub seconds: i64,
    /// The rest of its time, of the same sign.
    pub nanoseconds: i32,
    /// Log-likelihood under the base, nats per token, once computed.
    pub base: Option<f64>,
    /// `meta` as JSON.
    pub meta: Option<String>,
    /// What was asked.
    pub prompt: String,
    /// What the user wrote.
    pub response: String,
    /// Its period, and whether it is held out there. Read only: [`RowsMut::put_period`] writes it.
    pub place: Option<(u32, bool)>,
    /// The checksums.
    pub sums: InteractionSums,
}

/// The checksums of an interaction's parts, which change at different times.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InteractionSums {
    /// Of all but the log-likelihood and the place.
    pub text: Sum,
    /// Of the log-likelihood.
    pub base: Option<Sum>,
    /// Of the place. Read only, as the place is.
    pub place: Option<Sum>,
}

/// An interaction that is put into a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberRow {
    /// Its sequence number.
    pub seq: u64,
    /// Whether it is held out there.
    pub held_out: bool,
    /// The checksum of its place.
    pub sum: Sum,
}

/// A generation without its contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GenerationRow {
    /// Its number.
    pub number: u32,
    /// The generation it started from; 0 for none.
    pub parent: u32,
    /// The period it learned.
    pub period: u32,
    /// Bytes of its record.
    pub record: u64,
    /// The sizes of its memories; `None` where they are not kept.
    pub memories: Option<MemoriesSize>,
    /// The checksum of number, parent and period.
    pub sum: Sum,
}

/// A generation to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LearnedRow {
    /// Its number.
    pub number: u32,
    /// The generation it started from; 0 for none.
    pub parent: u32,
    /// The period it learned.
    pub period: u32,
    /// The checksum of these three.
    pub sum: Sum,
    /// Its record, as JSON.
    pub record: Summed<String>,
}

/// How large the memories of a generation are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoriesSize {
    /// Items of the buffer, as it was said when it was stored.
    pub buffered: u64,
    /// Bytes of the adapter.
    pub adapter: u64,
    /// Bytes of buffer and calibration sample.
    pub buffer: u64,
}

/// What a generation generates with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoriesRow {
    /// Items of the buffer.
    pub buffered: u64,
    /// The buffer, as JSON.
    pub buffer: String,
    /// The calibration sample, as JSON.
    pub calibration: String,
    /// The adapter.
    pub adapter: Vec<u8>,
    /// The checksum of all that.
    pub sum: Sum,
}

/// Who may train a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRow {
    /// The fencing token: larger than that of every earlier lease of the user.
    pub token: i64,
    /// Who holds it.
    pub holder: Holder,
    /// When it ends, in seconds since 1970 UTC; 0 once it was released.
    pub expires: i64,
    /// The checksum of all that.
    pub sum: Sum,
}

/// Who may ask a server for answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// Its id, which is no secret.
    pub id: String,
    /// The SHA-256 of its token; no two keys have the same.
    pub hash: Vec<u8>,
    /// Whose it is: it goes with the user's row.
    pub user: Option<i64>,
    /// What else is known of it, as JSON.
    pub record: String,
    /// The checksum of all that.
    pub sum: Sum,
}

/// A server that answers for the state. It is under no checksum: it says where somebody may ask,
/// and counts for seconds.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplicaRow {
    /// The address under which it is reached: its name among the others.
    pub url: String,
    /// What it has to do, as a part of what it can do at once.
    pub load: f64,
}

/// What a user has said of conversations, or of contributing to priors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConsentRow {
    /// Whether they are kept, or texts may be learned from for others.
    pub keep: bool,
    /// When that was said, in seconds since 1970 UTC.
    pub since: i64,
    /// The checksum of all that.
    pub sum: Sum,
}

/// An adapter that was learned from several users, for others to start from, without its contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriorRow {
    /// Its number, from 1.
    pub number: u32,
    /// The hash of its adapter, in hexadecimal digits; no two have the same.
    pub id: String,
    /// Whether those who have learned nothing yet start from it.
    pub in_use: bool,
    /// The checksum of all that.
    pub sum: Sum,
}

/// How many interactions and periods a user has, and since when.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extent {
    /// Interactions.
    pub interactions: u64,
    /// Periods.
    pub periods: u64,
    /// Seconds and nanoseconds of the first interaction.
    pub first: Option<(i64, i32)>,
    /// The same of the last.
    pub last: Option<(i64, i32)>,
}

/// Which users are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Users {
    /// All.
    All,
    /// Those who have something to learn: a pending interaction, or a period that neither the
    /// generation in use nor one that it came from, parent by parent, has learned.
    Due,
    /// Of those, who have something that was never learned: a pending interaction, or a period that
    /// no generation has learned. What a rollback took back alone is nothing new.
    New,
    /// Those whose generation in use has a record with [`UNJUDGED`]. A backend for many has an
    /// index of them: records are large, and nearly none has it.
    Unjudged,
}

/// What the JSON of a generation's record has where nobody has judged it. JSON's strings escape
/// their quotation marks, so no text can be taken for it.
pub const UNJUDGED: &str = "\"unjudged\":true";

/// Whom a worker may take next.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Leases that ended by then are none, in seconds since 1970 UTC.
    pub now: i64,
    /// Leases that end after this are none either: a clock that was ahead has written them.
    pub latest: i64,
    /// Those who are held from this [place](Holder::place) are given too: their holder may be gone.
    /// Empty for nowhere.
    pub place: &'a str,
    /// These are left out.
    pub except: &'a [UserId],
}

/// Which of a user's interactions are read, and in which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Texts {
    /// All, by sequence number.
    BySeq,
    /// All, by time, then sequence number.
    ByTime,
    /// Those in no period, by time, then sequence number.
    Pending,
    /// Those of a period, by time, then sequence number.
    Period(u32),
}

/// One interaction of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Text<'a> {
    /// By sequence number.
    Seq(u64),
    /// By id.
    Id(&'a str),
}

/// Takes rows one at a time.
pub type Visit<'v, T> = &'v mut dyn FnMut(T) -> Outcome<()>;

/// Reading rows. A user is named by the [key](UserRow::key) of the row; of a key that is not there,
/// nothing is found.
pub trait Rows {
    /// The time by which leases end, about as of when the transaction began. A state that several
    /// machines share has one clock, whatever theirs say; that of a state of one machine is the
    /// machine's.
    fn now(&self) -> Timestamp;

    /// What the state was made with.
    fn settings(&self) -> Outcome<SettingsRow>;

    /// At most `limit` names, by their bytes, after the one given.
    fn users(&self, which: Users, after: Option<&UserId>, limit: usize) -> Outcome<Vec<UserId>>;

    /// At most `limit` users who have [something new](Users::New) to learn and whom nobody holds,
    /// those who have waited longest or have most to learn first. Inside a transaction that writes,
    /// a backend may leave out whom another one is just about to take, so that neither waits.
    ///
    /// As it is here, it looks at all users; a backend for many has an index of those who wait.
    fn waiting(&self, wanted: &Wanted<'_>, limit: usize) -> Outcome<Vec<UserId>> {
        let is_free = |lease: LeaseRow| {
            let is_near = !wanted.place.is_empty() && lease.holder.place == wanted.place;
            lease.expires <= wanted.now || lease.expires > wanted.latest || is_near
        };
        let mut found = Vec::new();
        let mut page = self.users(Users::New, None, 1000)?;
        while let Some(last) = page.last().cloned() {
            for name in page {
                let Some(user) = self.user(&name)? else { continue };
                if !wanted.except.contains(&name) && self.lease(user.key)?.is_none_or(is_free) {
                    found.push((user.pending, name));
                }
            }
            page = self.users(Users::New, Some(&last), 1000)?;
        }
        // By name where they have as much.
        found.sort_by(|(one, _), (other, _)| other.cmp(one));
        found.truncate(limit);
        Ok(found.into_iter().map(|(_, name)| name).collect())
    }

    /// A user by name.
    fn user(&self, name: &UserId) -> Outcome<Option<UserRow>>;

    /// How many interactions and periods there are.
    fn extent(&self, user: i64) -> Outcome<Extent>;

    /// Interactions, one after the other.
    fn interactions(
        &self,
        user: i64,
        which: Texts,
        visit: Visit<'_, InteractionRow>,
    ) -> Outcome<()>;

    /// One interaction.
    fn interaction(&self, user: i64, which: Text<'_>) -> Outcome<Option<InteractionRow>>;

    /// The numbers of all periods, in order.
    fn periods(&self, user: i64) -> Outcome<Vec<u32>>;

    /// All generations, in the order of their numbers.
    fn generations(&self, user: i64) -> Outcome<Vec<GenerationRow>>;

    /// The record of a generation, as JSON.
    fn record(&self, user: i64, generation: u32) -> Outcome<Option<Summed<String>>>;

    /// The memories of a generation.
    fn memories(&self, user: i64, generation: u32) -> Outcome<Option<MemoriesRow>>;

    /// Records of generated texts with their keys, the oldest or the newest first, until `visit`
    /// has seen enough.
    fn answers(
        &self,
        user: i64,
        newest_first: bool,
        visit: &mut dyn FnMut(i64, Summed<String>) -> Outcome<ControlFlow<()>>,
    ) -> Outcome<()>;

    /// The embedding of an interaction under a base.
    fn embedding(&self, user: i64, seq: u64, base: &str) -> Outcome<Option<Summed<Vec<u8>>>>;

    /// The lease, released or not.
    fn lease(&self, user: i64) -> Outcome<Option<LeaseRow>>;

    /// What is known of the graph over the user's embeddings, as JSON.
    fn graph(&self, user: i64) -> Outcome<Option<Summed<String>>>;

    /// What the user has said of conversations; `None` for nothing.
    fn consent(&self, user: i64) -> Outcome<Option<ConsentRow>>;

    /// What the user has said of contributing to priors; `None` for nothing.
    fn contribution(&self, user: i64) -> Outcome<Option<ConsentRow>>;

    /// All priors, in the order of their numbers. Inside a transaction that writes, nobody else
    /// changes or removes them until its end; others may read them, too.
    fn priors(&self) -> Outcome<Vec<PriorRow>>;

    /// From what and how a prior was learned, as JSON.
    fn prior_record(&self, number: u32) -> Outcome<Option<Summed<String>>>;

    /// The adapter of a prior.
    fn prior_adapter(&self, number: u32) -> Outcome<Option<Summed<Vec<u8>>>>;

    /// The number of users who have a generation without a parent whose record has this text in
    /// it. It reads the records of all users.
    fn users_with(&self, text: &str) -> Outcome<u64>;

    /// All keys, by their ids.
    fn keys(&self) -> Outcome<Vec<KeyRow>>;

    /// The key of a hash.
    fn key(&self, hash: &[u8]) -> Outcome<Option<KeyRow>>;

    /// The servers that were [put](RowsMut::put_replica) within this time, by the clock that wrote
    /// that down, in the order of their addresses' bytes. What seems to come from the future is as
    /// old as it is ahead.
    fn replicas(&self, within: Duration) -> Outcome<Vec<ReplicaRow>>;
}

/// Changing rows, alone among all writers.
///
/// Keys and numbers that the rules give are new where a row is added; a backend that finds one
/// taken refuses.
pub trait RowsMut: Rows {
    /// Replaces what the state was made with. Where the count of removals has grown, removals up to
    /// it are to be [finished](Backend::finish_removals), after a crash too.
    fn put_settings(&mut self, row: &SettingsRow) -> Outcome<()>;

    /// Takes their log-likelihoods from all interactions.
    fn forget_bases(&mut self) -> Outcome<()>;

    /// Adds a user: next sequence number 1, nothing pending, no generation, no checksum yet.
    fn add_user(&mut self, name: &UserId, removals: u64) -> Outcome<UserRow>;

    /// Replaces a user's row, but for the name.
    fn put_user(&mut self, user: &UserRow) -> Outcome<()>;

    /// Removes a user with everything that hangs on the row.
    fn delete_user(&mut self, user: i64) -> Outcome<()>;

    /// Adds an interaction, in no period.
    fn put_interaction(&mut self, user: i64, row: &InteractionRow) -> Outcome<()>;

    /// Replaces an interaction's log-likelihood; false if there is no such interaction.
    fn set_base(&mut self, user: i64, seq: u64, base: Summed<f64>) -> Outcome<bool>;

    /// Removes an interaction with its place in a period and its embeddings.
    fn delete_interaction(&mut self, user: i64, seq: u64) -> Outcome<()>;

    /// Adds a period unless it is there, and puts interactions into it.
    fn put_period(&mut self, user: i64, number: u32, members: &[MemberRow]) -> Outcome<()>;

    /// Adds a generation without memories, or replaces the record of one that is there.
    fn put_generation(&mut self, user: i64, row: &LearnedRow) -> Outcome<()>;

    /// Replaces the memories of a generation; `None` removes them.
    fn put_memories(
        &mut self,
        user: i64,
        generation: u32,
        row: Option<&MemoriesRow>,
    ) -> Outcome<()>;

    /// Adds the record of a generated text; a later one has a larger key.
    fn put_answer(&mut self, user: i64, record: Summed<&str>) -> Outcome<()>;

    /// Removes the record of a generated text.
    fn delete_answer(&mut self, user: i64, key: i64) -> Outcome<()>;

    /// Replaces the embedding of an interaction that is there.
    fn put_embedding(
        &mut self,
        user: i64,
        seq: u64,
        base: &str,
        vector: Summed<&[u8]>,
    ) -> Outcome<()>;

    /// Replaces the lease if its token is the one expected, `None` for no lease; false if it is
    /// not.
    fn swap_lease(&mut self, user: i64, expected: Option<i64>, lease: &LeaseRow) -> Outcome<bool>;

    /// Replaces what is known of the graph; `None` removes it.
    fn put_graph(&mut self, user: i64, stamp: Option<Summed<&str>>) -> Outcome<()>;

    /// Replaces what the user has said of conversations.
    fn put_consent(&mut self, user: i64, row: &ConsentRow) -> Outcome<()>;

    /// Replaces what the user has said of contributing to priors.
    fn put_contribution(&mut self, user: i64, row: &ConsentRow) -> Outcome<()>;

    /// Adds a prior with its record and its adapter.
    fn add_prior(
        &mut self,
        row: &PriorRow,
        record: Summed<&str>,
        adapter: Summed<&[u8]>,
    ) -> Outcome<()>;

    /// Replaces the row of a prior that is there; whoever has read it in a transaction that writes
    /// is waited for.
    fn put_prior(&mut self, row: &PriorRow) -> Outcome<()>;

    /// Replaces the record of a prior that is there.
    fn put_prior_record(&mut self, number: u32, record: Summed<&str>) -> Outcome<()>;

    /// Removes a prior, if it is there.
    fn delete_prior(&mut self, number: u32) -> Outcome<()>;

    /// Adds a key, or replaces the record of the one of this id.
    fn put_key(&mut self, row: &KeyRow) -> Outcome<()>;

    /// Adds a server or replaces the one of this address, as of now by the one clock of the
    /// backend: a database's own, not that of the machine that asks it. Others that
    /// [nobody would find](Rows::replicas) within `lasts` any more are removed, unless another
    /// transaction is at them.
    fn put_replica(&mut self, row: &ReplicaRow, lasts: Duration) -> Outcome<()>;

    /// Removes a server, if it is there.
    fn delete_replica(&mut self, url: &str) -> Outcome<()>;
}
