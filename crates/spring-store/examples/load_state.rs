//! A state of many users in a PostgreSQL database, made through the store's own calls, and what the
//! calls of a worker take as it grows:
//!
//! ```sh
//! cargo run --release -p spring-store --features contract,postgres --example load_state -- \
//!     postgres://me@127.0.0.1/test?schema=load [USERS [TEXTS [SECONDS]]]
//! ```
//!
//! 100,000 users with 50 texts each unless it is told otherwise, which takes up to 40 GB on the
//! server's disk, the write-ahead log included; users learn for SECONDS (900) at most. Adapters
//! have the size of those of the built-in model. The schema must hold no state; it is left for
//! whoever wants to look.

#![allow(clippy::unwrap_used)]

use std::{
    error::Error,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use spring_lm::{Adapter, LoraConfig, ModelConfig};
use spring_memory::{BufferItem, Interaction, InteractionId, UserId};
use spring_store::{
    Access, Address, PeriodCommit, PeriodPlan, PostgresStore,
    contract::samples::{commit, settings},
    record::ScoredText,
};
use tokio_postgres::NoTls;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Users of one transaction of an ingest.
const BATCH: usize = 50;

/// Threads that fill the state and that empty the queue.
const THREADS: usize = 4;

/// Users who learn one after the other while each call is timed.
const TIMED: usize = 200;

/// How long a commit rate is measured.
const RATE: Duration = Duration::from_secs(15);

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let text = arguments.next().ok_or("an address is missing")?;
    let address = Address::parse(&text)?;
    let mut number = |default| {
        arguments.next().map_or(Ok(default), |number| number.parse::<usize>().map_err(Box::new))
    };
    let (users, texts, seconds) = (number(100_000)?, number(50)?, number(900)?);
    if users == 0 {
        return Err("at least one user is needed".into());
    }
    let server = Server::new(&text)?;
    drop(PostgresStore::create(&address, &settings())?);
    let store = PostgresStore::open(&address, Access::ReadWrite)?;
    let learned = Learned::new(texts)?;
    println!("adapter: {} bytes; texts of a user: {texts}", learned.commit.adapter.len());

    let mut sizes: Vec<usize> = [1_000, 10_000].into_iter().filter(|size| *size < users).collect();
    sizes.push(users);
    let mut there = 0;
    let mut timed = Vec::new();
    println!("\n| users | texts added a second | MB of log for a thousand texts |\n|---|---|---|");
    for size in sizes {
        let (begin, log) = (Instant::now(), server.log()?);
        fill(&store, there..size, texts);
        // As the server's own housekeeping would, sooner or later: the times do not depend on when.
        server.run("VACUUM ANALYZE")?;
        let added = ((size - there) * texts) as f64;
        println!(
            "| {size} | {:.0} | {:.2} |",
            added / begin.elapsed().as_secs_f64(),
            (server.log()? - log) as f64 / 1e3 / added
        );
        there = size;
        let mut times: [Vec<Duration>; 4] = Default::default();
        for _ in 0..TIMED.min(size.div_ceil(2)) {
            learned.learn(&store, Some(&mut times));
        }
        timed.push((size, times));
    }

    let calls = ["claim", "read what there is to learn", "commit", "release"];
    println!("\n| users | call | median, ms | 99 of 100 within, ms |\n|---|---|---|---|");
    for (size, times) in &mut timed {
        for (call, times) in calls.iter().zip(times) {
            times.sort();
            let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
            let [median, most] = [at(0.5), at(0.99)].map(|time| time.as_secs_f64() * 1e3);
            println!("| {size} | {call} | {median:.2} | {most:.2} |");
        }
    }

    // Claims look past whoever is held, who have waited longest.
    println!("\n| held by others | claim, median, ms |\n|---|---|");
    let mut leases = Vec::new();
    for held in [0, 100, 1_000, 5_000] {
        if held + 50 > users / 2 {
            break;
        }
        while leases.len() < held {
            leases.push(store.claim(&[])?.ok_or("nobody waits")?);
        }
        let mut times = Vec::new();
        for _ in 0..50 {
            let begin = Instant::now();
            leases.push(store.claim(&[])?.ok_or("nobody waits")?);
            times.push(begin.elapsed());
        }
        times.sort();
        println!("| {held} | {:.2} |", times[25].as_secs_f64() * 1e3);
    }
    for lease in &leases {
        store.release(lease)?;
    }

    println!("\n| workers at once | users a second | kB of log a user |\n|---|---|---|");
    for threads in [1, 2, 4, 8] {
        let (log, begin) = (server.log()?, Instant::now());
        let count = learned.learn_all(&store, threads, RATE);
        let rate = count as f64 / begin.elapsed().as_secs_f64();
        println!(
            "| {threads} | {rate:.0} | {:.0} |",
            (server.log()? - log) as f64 / 1e3 / count.max(1) as f64
        );
    }
    let begin = Instant::now();
    let most = Duration::from_secs(seconds as u64);
    let count = learned.learn_all(&store, THREADS, most);
    println!(
        "\nthen {count} users by {THREADS} workers in {:.0} s: {:.0} a second",
        begin.elapsed().as_secs_f64(),
        count as f64 / begin.elapsed().as_secs_f64()
    );

    server.run("VACUUM ANALYZE")?;
    let have = server.number("SELECT count(*) FROM generations")?;
    println!("\n{users} users, of whom {have} have learned\n");
    println!("| table | rows | bytes a row, all in all | GB |\n|---|---|---|---|");
    let tables = "SELECT relname::text, reltuples::bigint, pg_total_relation_size(oid)::bigint
                  FROM pg_class WHERE relnamespace = current_schema()::regnamespace
                  AND relkind = 'r' AND reltuples > 0 ORDER BY 3 DESC";
    let mut sum = 0;
    for row in server.rows(tables)? {
        let (name, rows, bytes): (String, i64, i64) = (row.get(0), row.get(1), row.get(2));
        sum += bytes;
        let each = bytes as f64 / rows as f64;
        println!("| {name} | {rows} | {each:.0} | {:.3} |", bytes as f64 / 1e9);
    }
    println!("| all | | | {:.3} |", sum as f64 / 1e9);
    Ok(())
}

fn user(number: usize) -> UserId {
    UserId::new(format!("user{number:07}")).unwrap()
}

/// Short texts of a user, a minute apart.
fn history(number: usize, texts: usize) -> impl Iterator<Item = Interaction> {
    let user = user(number);
    (0..texts).map(move |text| {
        let time = Timestamp::from_second(1_700_000_000 + 60 * text as i64).unwrap();
        let prompt = format!("What shall I say of day {text} of the journey?");
        let response = format!(
            "It was the {text}th day; person {number} walked on, ate bread, and wrote this down."
        );
        let id = InteractionId::new(text.to_string()).unwrap();
        Interaction::new(user.clone(), id, time, prompt, response)
    })
}

/// Adds users with their texts.
fn fill(store: &PostgresStore, users: std::ops::Range<usize>, texts: usize) {
    let next = AtomicUsize::new(users.start);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let from = next.fetch_add(BATCH, Ordering::Relaxed);
                    let some = from..(from + BATCH).min(users.end);
                    if some.is_empty() {
                        return;
                    }
                    store.ingest(some.flat_map(|number| history(number, texts))).unwrap();
                }
            });
        }
    });
}

/// What every user learns: nothing is trained here.
struct Learned {
    commit: PeriodCommit,
}

impl Learned {
    fn new(texts: usize) -> Outcome<Self> {
        let config = concat!(env!("CARGO_MANIFEST_DIR"), "/../spring-cli/model/config.json");
        let model = ModelConfig::from_json(&std::fs::read(config)?, config)?;
        let settings = settings();
        let adapter = Adapter::init(&LoraConfig::default(), &model, &settings.fingerprint, 1)?;
        let mut commit = commit(1, 0);
        commit.adapter = adapter.to_bytes()?;
        let selected = (texts * 3).div_ceil(10);
        let first = commit.record.scores.first().ok_or("no score")?.clone();
        commit.record.scores = (1..=texts)
            .map(|seq| ScoredText {
                seq: seq as u64,
                id: InteractionId::new((seq - 1).to_string()).unwrap(),
                base: -1.0 / (seq + 2) as f64,
                selected: (seq <= selected).then_some(seq),
                cuts: vec![],
                ..first.clone()
            })
            .collect();
        commit.record.selection.selected = selected;
        commit.record.update.losses = (1_u16..=60).map(|step| 3.0 / f32::from(step)).collect();
        commit.record.evicted = vec![];
        let item = |seq: usize| BufferItem::new(seq as u64, 1, -2.0 / 3.0, 0.1, 1.0 / seq as f64);
        commit.buffer = (1..=selected).map(item).collect();
        commit.base = (1..=texts).map(|seq| (seq as u64, -1.0 / (seq + 2) as f64)).collect();
        Ok(Self { commit })
    }

    /// What a worker does with the next user, but for the training; `None` if nobody waits.
    fn learn(&self, store: &PostgresStore, times: Option<&mut [Vec<Duration>; 4]>) -> Option<()> {
        let clock = Instant::now();
        let lease = store.claim(&[]).unwrap()?;
        let claimed = clock.elapsed();
        let clock = Instant::now();
        let backlog = store.backlog(&lease.user, PeriodPlan::default()).unwrap().unwrap();
        let read = clock.elapsed();
        let commit = self.commit.clone().with_cut(backlog.planned);
        let clock = Instant::now();
        store.commit(&lease, &backlog.snapshot.version, &commit).unwrap();
        let committed = clock.elapsed();
        let clock = Instant::now();
        store.release(&lease).unwrap();
        let taken = [claimed, read, committed, clock.elapsed()];
        if let Some(times) = times {
            times.iter_mut().zip(taken).for_each(|(times, taken)| times.push(taken));
        }
        Some(())
    }

    /// Lets that many workers learn until nobody waits or the time is up; gives how many users did.
    fn learn_all(&self, store: &PostgresStore, workers: usize, most: Duration) -> usize {
        let (begin, count) = (Instant::now(), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    while begin.elapsed() < most && self.learn(store, None).is_some() {
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        count.into_inner()
    }
}

/// The server, asked beside the store.
struct Server {
    runtime: tokio::runtime::Runtime,
    client: tokio_postgres::Client,
}

impl Server {
    /// By the same address, without TLS.
    fn new(address: &str) -> Outcome<Self> {
        let (place, parameters) = address.split_once('?').unwrap_or((address, ""));
        let schema = parameters.split('&').find_map(|one| one.strip_prefix("schema="));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (client, connection) = runtime.block_on(tokio_postgres::connect(place, NoTls))?;
        runtime.spawn(connection);
        let server = Self { runtime, client };
        server.run(&format!("SET search_path TO {}", schema.unwrap_or("spring")))?;
        Ok(server)
    }

    fn run(&self, statement: &str) -> Outcome<()> {
        Ok(self.runtime.block_on(self.client.batch_execute(statement))?)
    }

    fn rows(&self, query: &str) -> Outcome<Vec<tokio_postgres::Row>> {
        Ok(self.runtime.block_on(self.client.query(query, &[]))?)
    }

    fn number(&self, query: &str) -> Outcome<i64> {
        Ok(self.runtime.block_on(self.client.query_one(query, &[]))?.get(0))
    }

    /// Bytes of the write-ahead log until now.
    fn log(&self) -> Outcome<i64> {
        self.number("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint")
    }
}
