//! What the tests put into a state.

use std::ops::ControlFlow;

use jiff::Timestamp;
use spring_drift::{Alpha, DriftScore, ScoreStatistics};
use spring_fuse::{Gains, GateDecision, TextGain};
use spring_lm::{Adapter, LoraConfig, ModelConfig};
use spring_memory::{BufferItem, Evicted, EvictionReason, Interaction, InteractionId, UserId};

use crate::{
    Config, DecodingConfig, Error, KeyAccess, NewKey, PeriodCommit, Result, Settings, Store,
    backend::{Durability, KeyRow, LeaseRow, Outcome, Rows, RowsMut as _, Texts, Users},
    record::{
        AnswerRecord, Cut, Ending, PeriodRecord, RetrievedText, ScoredText, SelectionRecord,
        TokenTrace, UpdateRecord,
    },
    store::Checked,
};

/// Settings of a base that nobody has.
pub fn settings() -> Settings {
    Settings::new("models/base", "f00d", Config::default())
}

pub fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

pub fn id(name: &str) -> InteractionId {
    InteractionId::new(name).unwrap()
}

pub fn interaction(user: &str, name: &str, time: &str) -> Interaction {
    let (prompt, response) = (format!("prompt {name}"), format!("response of {user} to {name}"));
    let user = UserId::new(user).unwrap();
    Interaction::new(user, id(name), time.parse().unwrap(), prompt, response)
}

/// `n` interactions a second apart, their ids from 1.
pub fn history(user: &str, n: usize) -> Vec<Interaction> {
    let at = |second| Timestamp::from_second(second as i64).unwrap().to_string();
    (1..=n).map(|i| interaction(user, &i.to_string(), &at(i))).collect()
}

/// That many seconds after 1970.
pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// A key for a user.
pub fn key_of(name: &str) -> NewKey {
    NewKey::new(KeyAccess::User(user(name)))
}

/// Gives each of the users `n` texts in one period each.
pub fn with_periods(store: &Store, users: &[&str], n: usize) {
    for name in users {
        store.ingest(history(name, n)).unwrap();
        store.cut_periods(&user(name), u32::try_from(n).unwrap(), 0.0).unwrap();
    }
}

/// Numbers that decimal text easily loses.
pub const HARD: [f64; 5] = [-2.0 / 3.0, 5e-324, f64::MAX, -4.350_000_000_000_000_5, 0.1 + 0.2];

pub fn record(period: u32, parent: u32) -> PeriodRecord {
    let score = DriftScore::new(HARD[0], HARD[3], HARD[4]);
    let item = BufferItem::new(9, period, HARD[4], HARD[0], HARD[1]);
    PeriodRecord {
        period,
        parent,
        finished: "2026-03-01T12:00:00.123456789Z".parse().unwrap(),
        seconds: HARD[4],
        held_out: 1,
        scores: vec![
            ScoredText {
                seq: 1,
                id: id("1"),
                base: HARD[0],
                adapter: Some(HARD[3]),
                population: None,
                lookahead: None,
                score,
                selected: Some(1),
                tokens: 17,
                cuts: vec![Cut::Prompt { tokens: 3 }],
            },
            ScoredText {
                seq: 2,
                id: id("zwei"),
                base: -1.0,
                adapter: None,
                population: None,
                lookahead: None,
                score: DriftScore::new(0.0, score.quality, score.score),
                selected: None,
                tokens: 1,
                cuts: vec![],
            },
        ],
        statistics: ScoreStatistics::of(
            &[score, DriftScore::new(1.0, score.quality, score.score)],
            Alpha::default(),
        )
        .unwrap(),
        selection: SelectionRecord {
            selected: 1,
            cutoff: Some(HARD[4]),
            reason: "the best 30 %".into(),
        },
        update: UpdateRecord {
            steps: 4,
            tokens: 34,
            losses: vec![2.1, 1.9],
            seed: u64::MAX,
            seconds: 1.5,
        },
        evicted: vec![
            Evicted::new(item, EvictionReason::Outranked { rank: HARD[1], lowest_kept: None }),
            Evicted::new(item, EvictionReason::Redundant { nearest: 4, distance: 0.25 }),
        ],
        gate_threshold: Some(HARD[2]),
        unjudged: false,
        imported: false,
        prior: None,
        config: Config { seed: 7, ..Config::default() },
    }
}

fn gate() -> GateDecision {
    let mut gate = GateDecision::keeping(vec![0], "one of two");
    (gate.threshold, gate.margin) = (Some(HARD[0]), Some(HARD[4]));
    gate
}

/// What reading along has gained for one text.
pub fn gains(key: u64) -> Gains {
    Gains::new("as here", vec![0.5, 1.0], vec![TextGain::new(key, 2.5, vec![0.25, -1.0 / 3.0])])
}

/// A period's commit from a generation, with texts 1 and 2 in the buffer.
pub fn commit(period: u32, parent: u32) -> PeriodCommit {
    let item = |key| BufferItem::new(key, period, HARD[0], HARD[1], HARD[4] / key as f64);
    PeriodCommit {
        cut: vec![],
        adapter: adapter("f00d"),
        buffer: vec![item(2), item(1)],
        calibration: HARD.to_vec().into(),
        base: vec![(1, HARD[0]), (2, HARD[3])],
        record: record(period, parent),
    }
}

fn lora() -> LoraConfig {
    LoraConfig::default().with_rank(16)
}

/// The same commit as a training would make it: what no adapter has scored has no such score, and
/// the adapter has the shape of the record's settings.
pub fn trained(mut commit: PeriodCommit) -> PeriodCommit {
    let record = &mut commit.record;
    record.config.lora = lora();
    if record.parent == 0 {
        record.scores.iter_mut().for_each(|score| score.adapter = None);
    }
    commit
}

/// The bytes of an adapter of a base.
pub fn adapter(base: &str) -> Vec<u8> {
    adapter_of(base, 0)
}

/// The same with other factors for each seed.
pub fn adapter_of(base: &str, seed: u64) -> Vec<u8> {
    let config = r#"{"model_type": "llama", "vocab_size": 8, "hidden_size": 64,
        "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 2,
        "max_position_embeddings": 16}"#;
    let model = ModelConfig::from_json(config.as_bytes(), "config.json").unwrap();
    Adapter::init(&lora(), &model, base, seed).unwrap().to_bytes().unwrap()
}

/// Commits under a lease of its own, over what is there now.
pub fn put(store: &Store, name: &str, commit: &PeriodCommit) -> Result<u32> {
    let user = user(name);
    let lease = store.lease(&user)?;
    let number = store.version(&user).and_then(|version| store.commit(&lease, &version, commit));
    store.release(&lease)?;
    number
}

/// Keeps the record of a text, made from what is there now.
pub fn keep(store: &Store, name: &str, answer: &AnswerRecord) -> Result<()> {
    store.record_answer(&store.version(&user(name))?, answer)
}

pub fn answer(text: &str) -> AnswerRecord {
    AnswerRecord {
        id: None,
        time: "2026-03-02T08:00:00.000000001Z".parse().unwrap(),
        generation: 2,
        prompt: "What\u{0} now?".into(),
        text: text.into(),
        ended: Ending::EndToken,
        retriever: "bm25".into(),
        fusion: Some(spring_fuse::MixtureConfig::default()),
        decoding: Some(DecodingConfig::default()),
        gate: gate(),
        retrieved: vec![RetrievedText { seq: 1, id: id("1"), score: HARD[4], used: true }],
        trace: vec![TokenTrace {
            token: 5,
            text: " five".into(),
            lambda: 0.5,
            retrieval_share: 0.1,
            divergence: Some(0.25),
        }],
        cuts: vec![Cut::Retrieved { seq: 2 }],
    }
}

/// Every row of a state, but for leases that have ended.
pub fn dump(store: &Store) -> Vec<String> {
    let mut lines = Vec::new();
    let read = store.backend().read(&mut |rows| {
        lines = dump_rows(rows)?;
        Ok(())
    });
    read.unwrap();
    lines
}

/// The same after a look at the checksums, and without them and the users' keys: equal for equal
/// states whatever keys were given before.
pub fn dump_without_keys(store: &Store) -> Vec<String> {
    let mut lines = Vec::new();
    let read = store.backend().read(&mut |rows| {
        lines = dump_rows(&Checked(rows))?;
        Ok(())
    });
    read.unwrap();
    lines.iter().map(|line| without_numbers(line, &["sum: ", "sums: ", "key: "])).collect()
}

/// A line without what stands behind these labels: a number, or fields in braces.
fn without_numbers(line: &str, labels: &[&str]) -> String {
    labels.iter().fold(line.to_owned(), |line, label| {
        let mut parts = line.split(label);
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |kept, part| match part.starts_with("InteractionSums") {
            true => kept + part.split_once('}').map_or("", |(_, rest)| rest),
            false => kept + part.trim_start_matches(|c: char| c == '-' || c.is_ascii_digit()),
        })
    })
}

fn dump_rows(rows: &dyn Rows) -> Outcome<Vec<String>> {
    let mut lines = Vec::new();
    let settings = rows.settings()?;
    lines.push(format!("{settings:?}"));
    for KeyRow { id, hash, user, record, sum } in rows.keys()? {
        let key = user.map(|user| format!("key: {user}"));
        lines.push(format!("{id} {hash:?} {key:?} {record} sum: {sum}"));
    }
    for name in rows.users(Users::All, None, usize::MAX)? {
        let Some(user) = rows.user(&name)? else { continue };
        lines.push(format!("{name}: {user:?} {:?}", rows.periods(user.key)?));
        let mut seqs = Vec::new();
        rows.interactions(user.key, Texts::BySeq, &mut |row| {
            seqs.push(row.seq);
            lines.push(format!("{row:?}"));
            Ok(())
        })?;
        for seq in seqs {
            let embedding = rows.embedding(user.key, seq, &settings.fingerprint)?;
            lines.extend(embedding.map(|embedding| format!("{seq}: {embedding:?}")));
        }
        for row in rows.generations(user.key)? {
            let record = rows.record(user.key, row.number)?;
            let memories = rows.memories(user.key, row.number)?;
            lines.push(format!("{row:?} {record:?} {memories:?}"));
        }
        rows.answers(user.key, false, &mut |key, record| {
            lines.push(format!("{key}: {} sum: {}", record.value, record.sum));
            Ok(ControlFlow::Continue(()))
        })?;
        let lease = rows.lease(user.key)?.filter(|lease| lease.expires > 0);
        lines.push(format!("{lease:?} {:?}", rows.graph(user.key)?));
        lines.push(format!("{:?}", rows.consent(user.key)?));
        lines.extend(rows.contribution(user.key)?.map(|said| format!("contributes: {said:?}")));
    }
    for row in rows.priors()? {
        let (record, adapter) = (rows.prior_record(row.number)?, rows.prior_adapter(row.number)?);
        lines.push(format!("{row:?} {record:?} {adapter:?}"));
    }
    Ok(lines)
}

/// The lease of a user as it is stored.
pub fn stored_lease(store: &Store, name: &str) -> Option<LeaseRow> {
    let mut lease = None;
    let read = store.backend().read(&mut |rows| {
        let user = rows.user(&user(name))?.unwrap();
        lease = rows.lease(user.key)?;
        Ok(())
    });
    read.unwrap();
    lease
}

/// Makes a user's lease end at a time, in seconds since 1970.
pub fn end_lease(store: &Store, name: &str, expires: i64) {
    let written = store.backend().write(Durability::Process, &mut |rows| {
        let user = rows.user(&user(name))?.unwrap();
        let lease = rows.lease(user.key)?.unwrap();
        let ended = LeaseRow { expires, ..lease };
        let swapped = Checked(rows).swap_lease(user.key, Some(ended.token), &ended)?;
        assert!(swapped);
        Ok(())
    });
    written.unwrap();
}

/// The reason of an [`Error::State`] or [`Error::Damaged`].
#[track_caller]
pub fn reason<T: std::fmt::Debug>(result: Result<T>) -> String {
    match result {
        Err(Error::State { reason, .. }) => {
            assert!(!reason.contains('\n'), "{reason}");
            reason
        }
        Err(error @ Error::Damaged { .. }) => {
            let said = error.to_string();
            let from = said.find("damaged in table").unwrap();
            assert!(!said.contains('\n') && said.contains("restore it from a copy"), "{said}");
            said[from..].to_owned()
        }
        other => panic!("expected a state error, got {other:?}"),
    }
}

/// Evenly spread numbers, always the same.
pub struct Numbers(pub u64);

impl Numbers {
    /// The next one, below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        // A step of splitmix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}
