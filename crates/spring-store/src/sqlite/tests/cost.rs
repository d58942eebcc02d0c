//! What checksums cost: the same work over the same rows, with and without them.

use std::time::Instant;

use super::*;
use crate::{
    backend::{InteractionRow, InteractionSums, MemoriesRow, Outcome, Text, Texts},
    store::Checked,
};

const TEXTS: u64 = 20_000;
const ROUNDS: usize = 9;

fn row(seq: u64) -> InteractionRow {
    InteractionRow {
        seq,
        id: format!("message {seq}"),
        seconds: seq as i64,
        nanoseconds: 0,
        base: Some(-2.5),
        meta: None,
        prompt: "What do you say? ".repeat(6),
        response: format!("I say {seq}. ").repeat(25),
        place: None,
        sums: InteractionSums::default(),
    }
}

/// Work on the rows of a user.
type Work<'w> = &'w dyn Fn(&mut dyn RowsMut, i64) -> Outcome<()>;

/// Seconds for some work, the least of its rounds, without and with checksums in turns.
fn least(mut prepare: impl FnMut() -> SqliteStore, work: Work<'_>) -> [f64; 2] {
    let mut least = [f64::MAX; 2];
    for _ in 0..ROUNDS {
        for (is_checked, least) in [false, true].iter().zip(&mut least) {
            let store = prepare();
            let begin = Instant::now();
            let done = store.backend().write(Durability::Power, &mut |rows| {
                let key = rows.user(&user("ada"))?.unwrap().key;
                match is_checked {
                    true => work(&mut Checked(rows), key),
                    false => work(rows, key),
                }
            });
            done.unwrap();
            *least = least.min(begin.elapsed().as_secs_f64());
        }
    }
    least
}

#[test]
#[ignore = "measures: run it by hand, with --nocapture"]
fn what_checksums_cost() {
    let folder = tempfile::tempdir().unwrap();
    let mut count = 0;
    let mut empty = || {
        count += 1;
        let path = folder.path().join(format!("{count}.db"));
        let store = SqliteStore::create(path, &settings()).unwrap();
        store.ingest(history("ada", 2)).unwrap();
        store.cut_periods(&user("ada"), 1, 0.0).unwrap();
        put(&store, "ada", &commit(1, 0)).unwrap();
        store
    };
    let ingest = least(&mut empty, &|rows, key| {
        (3..TEXTS).try_for_each(|seq| rows.put_interaction(key, &row(seq)))
    });
    let memories = MemoriesRow {
        buffered: 200,
        buffer: "[1,2,3]".repeat(2000),
        calibration: "[1,2,3]".repeat(500),
        adapter: (0..1_u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect(),
        sum: 0,
    };
    let commit = least(&mut empty, &|rows, key| rows.put_memories(key, 1, Some(&memories)));
    let filled = empty();
    let written = filled.backend().write(Durability::Power, &mut |rows| {
        let key = rows.user(&user("ada"))?.unwrap().key;
        let mut rows = Checked(rows);
        (3..TEXTS).try_for_each(|seq| rows.put_interaction(key, &row(seq)))?;
        rows.put_memories(key, 1, Some(&memories))
    });
    written.unwrap();
    let path = path(&filled);
    drop(filled);
    let open = || SqliteStore::open(&path, Access::ReadWrite).unwrap();
    let recall = least(open, &|rows, key| {
        assert_eq!(rows.memories(key, 1)?.unwrap().adapter.len(), 1 << 20);
        (2..202).try_for_each(|seq| rows.interaction(key, Text::Seq(seq)).map(drop))
    });
    let history = least(open, &|rows, key| {
        let mut bytes = 0;
        rows.interactions(key, Texts::BySeq, &mut |row| {
            bytes += row.response.len();
            Ok(())
        })?;
        assert!(bytes > 1 << 20);
        Ok(())
    });
    for (name, [without, with]) in [
        ("ingest of 20,000 texts", ingest),
        ("a commit's adapter of 1 MiB and buffer", commit),
        ("recall: that, and 200 texts", recall),
        ("a history of 20,000 texts", history),
    ] {
        println!(
            "| {name} | {:.2} ms | {:.2} ms | {:.2} |",
            without * 1e3,
            with * 1e3,
            with / without
        );
    }
}
