//! What the same calls take on a file and on a PostgreSQL database, in turns on one machine:
//!
//! ```sh
//! cargo run --release -p spring-store --features contract,postgres --example backends -- \
//!     postgres://me@127.0.0.1/test?schema=backends [USERS]
//! ```
//!
//! The schema must hold no state; it is left for whoever wants to look.

#![allow(clippy::unwrap_used)]

use std::{
    error::Error,
    time::{Duration, Instant},
};

use spring_store::{
    Access, Address, PeriodCommit, PostgresStore, SqliteStore, Store,
    contract::samples::{adapter, answer, commit, history, settings, user},
};

/// Texts of a user.
const TEXTS: usize = 20;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = Address::parse(&arguments.next().ok_or("an address is missing")?)?;
    let users: usize = arguments.next().map_or(Ok(60), |users| users.parse())?;
    let folder = tempfile::tempdir_in(std::env::current_dir()?)?;
    let file = SqliteStore::create(folder.path().join("state.db"), &settings())?;
    let database = PostgresStore::create(&address, &settings())?;
    // As any command opens them.
    drop(database);
    let database = PostgresStore::open(&address, Access::ReadWrite)?;
    let stores: [&Store; 2] = [&file, &database];
    let mut taken: Vec<(&str, [Vec<Duration>; 2])> = Vec::new();
    for number in 0..users {
        let name = format!("user{number}");
        let mut take = |what, at: usize, work: &mut dyn FnMut()| {
            let start = Instant::now();
            work();
            let taken = match taken.iter_mut().find(|(name, _)| *name == what) {
                Some((_, taken)) => taken,
                None => {
                    taken.push((what, Default::default()));
                    &mut taken.last_mut().unwrap().1
                }
            };
            taken[at].push(start.elapsed());
        };
        for turn in 0..2 {
            // Who is first changes.
            let at = (turn + number) % 2;
            let store = stores[at];
            let who = user(&name);
            take("ingest of 20 texts", at, &mut || {
                store.ingest(history(&name, TEXTS)).unwrap();
            });
            let mut lease = None;
            take("lease", at, &mut || lease = Some(store.lease(&who).unwrap()));
            let lease = lease.unwrap();
            let cut = store.plan_periods(&who, 1, 0.0).unwrap();
            let version = store.version(&who).unwrap();
            let base = (1..=TEXTS as u64).map(|seq| (seq, -1.5)).collect::<Vec<_>>();
            let commit: PeriodCommit = commit(1, 0).with_cut(cut).with_base(base);
            take("commit of a period", at, &mut || {
                store.commit(&lease, &version, &commit).unwrap();
            });
            take("release", at, &mut || store.release(&lease).unwrap());
            take("recall", at, &mut || drop(store.recall(&who, None).unwrap()));
            let version = store.version(&who).unwrap();
            take("record of an answer", at, &mut || {
                store.record_answer(&version, &answer("x")).unwrap();
            });
            take("digest", at, &mut || drop(store.digest(&who).unwrap()));
        }
    }
    println!("adapter: {} bytes", adapter("f00d").len());
    println!("| call | file, ms | database, ms | ratio |\n|---|---|---|---|");
    for (what, mut times) in taken {
        let [file, database] = [0, 1].map(|at| {
            times[at].sort();
            times[at][times[at].len() / 2].as_secs_f64() * 1e3
        });
        println!("| {what} | {file:.2} | {database:.2} | {:.2} |", database / file);
    }
    Ok(())
}
