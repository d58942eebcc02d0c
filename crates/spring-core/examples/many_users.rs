//! One state for many users: how fast texts come in, how fast who has something new is found and
//! trained, and what all of it weighs. The texts are made up; the first adapter is learned once and
//! stored for everybody.
//!
//! ```sh
//! # users, texts of each, jobs
//! cargo run --release -p spring-core --example many_users -- 10000 100 2
//! ```

use std::{
    ops::ControlFlow,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

use jiff::Timestamp;
use spring_core::{
    Access, Config, Follow, PeriodCommit, Periods, Progress, Result, Settings, SqliteStore,
    Tokenize, adapt, adapt_users,
    record::LearnedPeriod,
    spring_memory::{Interaction, InteractionId, UserId},
};
use spring_model::{AnyModel, Device, ModelFiles};

/// Users who write again once all have learned, and how many texts each.
const AGAIN: (usize, usize) = (200, 20);

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let number = |at: usize, default: usize| match std::env::args().nth(at) {
        Some(text) => text.parse(),
        None => Ok(default),
    };
    let (users, texts, jobs) = (number(1, 1000)?, number(2, 100)?, number(3, 2)?);
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../spring-model/tests/fixtures/tiny-llama");
    let model = AnyModel::load(&ModelFiles::from_dir(folder)?, Device::Cpu)?;
    let place = tempfile::tempdir()?;
    let path = place.path().join("state.db");
    let settings = Settings::new("tiny", model.info().fingerprint.clone(), Config::default());
    println!("{users} users, {texts} texts of each, about 200 bytes a text\n");
    println!("| what | | most memory so far |\n|---|---|---|");
    row("the model loaded", String::new());

    let store = SqliteStore::create(&path, &settings)?;
    let seconds = timed(|| ingest(&store, 0..users, 0..texts))?;
    row(
        "ingest: everybody's first text, then everybody's second, …",
        rate(users * texts, seconds, "texts"),
    );
    drop(store);
    row("the file after it", format!("{:.1} kB a user", size(&path) / users as f64 / 1e3));

    let store = SqliteStore::open(&path, Access::ReadWrite)?;
    let seconds = timed(|| give_everybody_a_generation(&model, &store, users))?;
    row("commit of a generation, one user after the other", rate(users, seconds, "users"));
    drop(store);
    row("the file after it", format!("{:.1} kB a user", size(&path) / users as f64 / 1e3));

    for (what, access) in [("read", Access::ReadOnly), ("write", Access::ReadWrite)] {
        let seconds = timed(|| Ok(SqliteStore::open(&path, access).map(drop)?))?;
        row(&format!("open to {what}"), format!("{:.1} ms", seconds * 1e3));
    }
    let store = SqliteStore::open(&path, Access::ReadWrite)?;
    let seconds = timed(|| Ok(store.users(None, 1000).map(drop)?))?;
    row("a page of 1000 users", format!("{:.0} ms", seconds * 1e3));
    let seconds = timed(|| match store.users_to_adapt(None, 1000)?.len() {
        0 => Ok(()),
        new => panic!("{new} users have something new"),
    })?;
    row("finding that nobody has anything new", format!("{:.0} ms", seconds * 1e3));

    let step = (users / AGAIN.0).max(1);
    for (turn, jobs) in [1, jobs].into_iter().enumerate() {
        let begin = texts + turn * AGAIN.1;
        ingest(&store, (0..users).step_by(step), begin..begin + AGAIN.1)?;
        let count = Count::default();
        let seconds = timed(|| adapt_users(&model, &store, jobs, Periods::default(), &count))?;
        let count = count.0.into_inner();
        let what = format!("adapt --jobs {jobs}: {count} users have {} new texts each", AGAIN.1);
        row(&what, rate(count, seconds, "users"));
    }
    Ok(())
}

/// A text of a user; each is another.
fn interaction(
    user: usize,
    text: usize,
) -> std::result::Result<Interaction, Box<dyn std::error::Error>> {
    let words = ["sea", "train", "garden", "film", "soup", "letter", "winter", "shop"];
    let word = |i: usize| words[(user * 7 + text * 3 + i * (text + 5)) % words.len()];
    let prompt = format!("Write about the {} and the {}.", word(0), word(1));
    let response = format!(
        "I, number {user}, saw the {} by the {} on day {text}; it was like a {} in a {}, and I \
         would go there \
         again if the {} were not so far.",
        word(2),
        word(3),
        word(4),
        word(5),
        word(6)
    );
    let (user, id) =
        (UserId::new(format!("user-{user:06}"))?, InteractionId::new(text.to_string())?);
    let time = Timestamp::from_second(1_600_000_000 + 3600 * text as i64)?;
    Ok(Interaction::new(user, id, time, prompt, response))
}

/// As they would come in over time: text after text, in each of them user after user.
fn ingest(
    store: &SqliteStore,
    users: impl Iterator<Item = usize> + Clone,
    texts: std::ops::Range<usize>,
) -> Result<()> {
    let all = texts.flat_map(|text| users.clone().map(move |user| (user, text)));
    store.ingest(all.filter_map(|(user, text)| interaction(user, text).ok()))?;
    Ok(())
}

/// Learns the first user's texts, and stores the outcome for all the others: their texts have the
/// same numbers.
fn give_everybody_a_generation(model: &AnyModel, store: &SqliteStore, users: usize) -> Result<()> {
    let Some(first) = store.users(None, 1)?.pop().map(|summary| summary.user) else {
        return Ok(());
    };
    let learned = adapt(model, store, &first, Periods::default(), &mut ())?.pop();
    let (Some(learned), Some(generation)) = (learned, store.generation(&first, None)?) else {
        return Ok(());
    };
    let mut last = first;
    for _ in 1..users {
        let Some(user) = store.users_to_adapt(Some(&last), 1)?.pop() else { break };
        let base = learned.record.scores.iter().map(|score| (score.seq, score.base)).collect();
        let commit = PeriodCommit::new(generation.adapter.clone(), learned.record.clone())
            .with_cut(store.plan_periods(&user, 1, 0.0)?)
            .with_buffer(generation.buffer.clone(), generation.calibration.clone())
            .with_base(base);
        let lease = store.lease(&user)?;
        store.commit(&lease, &store.version(&user)?, &commit)?;
        store.release(&lease)?;
        last = user;
    }
    Ok(())
}

/// Counts who is done.
#[derive(Default)]
struct Count(AtomicUsize);

impl Follow for Count {
    fn progress(&self) -> Box<dyn Progress + '_> {
        Box::new(())
    }

    fn done(&self, user: &UserId, learned: Result<Vec<LearnedPeriod>>) -> ControlFlow<()> {
        match learned {
            Ok(_) => {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => eprintln!("{user}: {error}"),
        }
        ControlFlow::Continue(())
    }
}

/// Seconds that some work takes.
fn timed(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let begin = Instant::now();
    work()?;
    Ok(begin.elapsed().as_secs_f64())
}

fn rate(count: usize, seconds: f64, of: &str) -> String {
    format!("{:.1} {of}/s ({seconds:.1} s)", count as f64 / seconds)
}

fn row(what: &str, value: String) {
    println!("| {what} | {value} | {} |", memory());
}

/// The file and its write-ahead log, in bytes.
fn size(path: &Path) -> f64 {
    let bytes = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len()) as f64;
    bytes(path) + bytes(&path.with_extension("db-wal"))
}

/// The most memory that this process has had, where the system tells.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kilobytes.map_or("–".into(), |kilobytes| format!("{:.0} MB", kilobytes / 1e3))
}
