//! One user's periods end to end (ingest, score, select, adapt, score again, commit), and a state
//! of a thousand users.
//!
//! On a tiny model, so that what the loop and the state cost is seen, and on the built-in one of 5
//! million parameters, where the model's part is.

#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    hint::black_box,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use criterion::{Criterion, SamplingMode, criterion_group, criterion_main};
use spring_core::{
    Access, Config, Generation, PeriodCommit, Periods, Settings, SqliteStore, Tokenize, adapt,
    ingest_jsonl, record::PeriodRecord, spring_memory::UserId,
};
use spring_model::{AnyModel, Device, ModelFiles};

const TINY: &str = "../spring-model/tests/fixtures/tiny-llama";
const BUILT_IN: &str = "../spring-cli/model";

/// The model of a folder, unless this package came without it.
fn model(folder: &str) -> Option<AnyModel> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    if !folder.is_dir() {
        eprintln!("skipped: {} is not there", folder.display());
        return None;
    }
    Some(AnyModel::load(&ModelFiles::from_dir(folder).unwrap(), Device::Cpu).unwrap())
}

fn settings(model: &AnyModel) -> Settings {
    Settings::new("bench", model.info().fingerprint.clone(), Config::default())
}

fn user(i: usize) -> UserId {
    UserId::new(format!("user-{i:04}")).unwrap()
}

/// Lines of JSONL: some texts of each of some users.
fn lines(users: usize, texts: std::ops::Range<usize>) -> String {
    let texts = texts.flat_map(|text| (0..users).map(move |user| (user, text)));
    let line = |(who, text): (usize, usize)| {
        let time = format!("2024-01-{:02}T{:02}:00:00Z", text / 24 % 28 + 1, text % 24);
        let line = serde_json::json!({
            "user": user(who), "id": text.to_string(), "time": time,
            "prompt": format!("Line {text}"),
            "response": format!("This is line {text} of a short history.")
        });
        format!("{line}\n")
    };
    texts.map(line).collect()
}

fn ingest(store: &SqliteStore, lines: &str) {
    ingest_jsonl(store, lines.as_bytes(), "lines").unwrap();
}

fn periods(c: &mut Criterion) {
    let lines = lines(1, 0..40);
    for (name, folder) in [("tiny", TINY), ("5M", BUILT_IN)] {
        let Some(model) = model(folder) else { continue };
        let settings = settings(&model);
        let mut group = c.benchmark_group(format!("40 texts, {name}"));
        group.sample_size(10).sampling_mode(SamplingMode::Flat);
        if folder == TINY {
            group.bench_function("ingest", |b| {
                b.iter(|| ingest(&SqliteStore::in_memory(&settings).unwrap(), &lines))
            });
        }
        group.bench_function("ingest and two periods", |b| {
            b.iter(|| {
                let store = SqliteStore::in_memory(&settings).unwrap();
                ingest(&store, &lines);
                let periods = Periods { count: 2, hold_out: 0.0 };
                black_box(adapt(&model, &store, &user(0), periods, &mut ()).unwrap())
            })
        });
        group.finish();
    }
}

const USERS: usize = 1000;

/// A state on disk in which each of a thousand users has 20 texts and a generation.
struct Thousand {
    path: PathBuf,
    /// What the first user learned, and with it everybody: their texts are the same.
    generation: Generation,
    record: PeriodRecord,
    /// The number of each user's first text.
    texts: usize,
    _folder: tempfile::TempDir,
}

impl Thousand {
    fn new(model: &AnyModel) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let store = SqliteStore::create(&path, &settings(model)).unwrap();
        ingest(&store, &lines(USERS, 0..20));
        let record =
            adapt(model, &store, &user(0), Periods::default(), &mut ()).unwrap().remove(0).record;
        let generation = store.generation(&user(0), None).unwrap().unwrap();
        let all = Self { path, generation, record, texts: 20, _folder: folder };
        for i in 1..USERS {
            all.commit(&store, &user(i), 0);
        }
        all
    }

    /// Commits a period over whatever the user has pending; gives the time that lease, commit and
    /// release took.
    fn commit(&self, store: &SqliteStore, user: &UserId, parent: u32) -> Duration {
        let cut = store.plan_periods(user, 1, 0.0).unwrap();
        let period = cut[0].number;
        let base = cut[0].members.iter().map(|member| (member.stored.seq, -3.0)).collect();
        let record = PeriodRecord { period, parent, ..self.record.clone() };
        let commit = PeriodCommit::new(self.generation.adapter.clone(), record)
            .with_cut(cut)
            .with_buffer(vec![], self.generation.calibration.clone())
            .with_base(base);
        let begin = Instant::now();
        let lease = store.lease(user).unwrap();
        let version = store.version(user).unwrap();
        store.commit(&lease, &version, &commit).unwrap();
        store.release(&lease).unwrap();
        begin.elapsed()
    }
}

fn thousand(c: &mut Criterion) {
    let Some(model) = model(TINY) else { return };
    let mut all = Thousand::new(&model);
    let mut group = c.benchmark_group("a thousand users");
    group.sample_size(20);
    for (name, access) in [("open to read", Access::ReadOnly), ("open to write", Access::ReadWrite)]
    {
        group.bench_function(name, |b| b.iter(|| SqliteStore::open(&all.path, access).unwrap()));
    }
    let store = SqliteStore::open(&all.path, Access::ReadWrite).unwrap();
    let mut users = (0..USERS).cycle().map(user);
    group.bench_function("read one", |b| {
        b.iter(|| {
            let user = users.next().unwrap();
            (store.user(&user).unwrap(), store.generation(&user, None).unwrap())
        })
    });
    group.bench_function("who has something new", |b| {
        b.iter(|| store.users_to_adapt(None, USERS).unwrap())
    });
    group.bench_function("commit one", |b| {
        b.iter_custom(|commits| {
            (0..commits)
                .map(|_| {
                    // Everybody writes one text more each time round, the first user first.
                    let (who, turn) = ((all.texts - 20) % USERS, (all.texts - 20) / USERS);
                    let line = lines(who + 1, 20 + turn..21 + turn);
                    ingest(&store, line.lines().last().unwrap());
                    all.texts += 1;
                    all.commit(&store, &user(who), turn as u32 + 1)
                })
                .sum()
        })
    });
    group.finish();
}

criterion_group!(all, periods, thousand);
criterion_main!(all);
