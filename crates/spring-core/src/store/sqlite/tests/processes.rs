use std::{sync::mpsc, thread, time::Duration};

use super::*;
use crate::adapt::{patience, patiently};

fn again(store: &SqliteStore, access: Access) -> SqliteStore {
    SqliteStore::open(store.path(), access).unwrap()
}

#[test]
fn a_writer_kept_waiting_says_why() {
    let (_folder, mut store) = on_file();
    let other = again(&store, Access::ReadWrite);
    other.connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    store.connection.busy_timeout(Duration::from_millis(10)).unwrap();
    // Opening is no writing.
    drop(again(&store, Access::ReadWrite));
    let error = ingest(&mut store, history("ada", 1)).unwrap_err();
    assert!(matches!(error, Error::Busy { .. }));
    assert!(error.to_string().contains(": another process is writing to it"), "{error}");
    other.connection.execute_batch("COMMIT").unwrap();
    assert_eq!(ingest(&mut store, history("ada", 1)).unwrap().added, 1);
}

#[test]
fn a_writer_waits_for_the_other() {
    let (_folder, mut store) = on_file();
    let other = again(&store, Access::ReadWrite);
    other.connection.execute_batch("BEGIN IMMEDIATE; INSERT INTO users (name) VALUES ('bob')").unwrap();
    let (begin, begun) = mpsc::channel();
    let writer = thread::spawn(move || {
        begin.send(()).unwrap();
        let report = ingest(&mut store, history("ada", 1));
        (store, report)
    });
    begun.recv().unwrap();
    thread::sleep(Duration::from_millis(50));
    other.connection.execute_batch("COMMIT").unwrap();
    let (store, report) = writer.join().unwrap();
    assert_eq!(report.unwrap().added, 1);
    assert_eq!(store.users(None, 9).unwrap().len(), 2);
}

#[test]
fn a_reader_sees_what_is_committed_and_waits_for_nobody() {
    let (_folder, mut store) = on_file();
    let mut readers = [again(&store, Access::ReadOnly), again(&store, Access::ReadWrite)];
    for reader in &mut readers {
        reader.connection.busy_timeout(Duration::ZERO).unwrap();
    }
    let mut lines = (1..).zip(history("ada", 3)).map(Ok).inspect(|_| {
        for reader in &readers {
            assert!(reader.users(None, 9).unwrap().is_empty());
        }
    });
    store.ingest("texts.jsonl", &mut lines).unwrap();
    for reader in &readers {
        assert_eq!(reader.user(&user("ada")).unwrap().interactions, 3);
    }
}

#[test]
fn the_second_to_learn_a_period_is_told() {
    let (_folder, mut store) = on_file();
    with_periods(&mut store, &["ada", "bob"], 2);
    let mut other = again(&store, Access::ReadWrite);
    assert_eq!(put(&mut store, &commit("ada", 1, 0)).unwrap(), 1);
    assert!(matches!(put(&mut other, &commit("ada", 1, 0)), Err(Error::Conflict { .. })));
    assert_eq!(put(&mut other, &commit("bob", 1, 0)).unwrap(), 1);
}

#[test]
fn a_store_for_reading_writes_nothing() {
    let (_folder, mut store) = on_file();
    with_periods(&mut store, &["ada"], 2);
    ingest(&mut store, history("ada", 3)).unwrap();
    let before = dump(&store);
    let mut reader = again(&store, Access::ReadOnly);
    let refused = [
        reason(ingest(&mut reader, history("bob", 1))),
        reason(reader.cut_periods(&user("ada"), 1, 0.0)),
        reason(put(&mut reader, &commit("ada", 1, 0))),
        reason(reader.record_answer(&user("ada"), 0, &answer("x"))),
        reason(reader.set_config(&Config { seed: 5, ..Config::default() })),
    ];
    for reason in refused {
        assert!(reason.starts_with("opened for reading only"), "{reason}");
    }
    assert_eq!(reader.settings(), &settings());
    assert_eq!(dump(&store), before);
}

#[test]
fn a_slow_source_keeps_nobody_from_writing() {
    let (_folder, mut store) = on_file();
    let mut other = again(&store, Access::ReadWrite);
    other.connection.busy_timeout(Duration::ZERO).unwrap();
    let mut lines = (1..).zip(history("ada", 3)).map(Ok).inspect(|line| {
        let id = line.as_ref().map_or(0, |(line, _): &(u64, Interaction)| *line);
        ingest(&mut other, vec![interaction("bob", &id.to_string(), "2026-01-01T00:00:00Z")]).unwrap();
    });
    assert_eq!(store.ingest("texts.jsonl", &mut lines).unwrap().added, 3);
    assert_eq!(store.user(&user("bob")).unwrap().interactions, 3);
    // Again in the same connection, after a failure too.
    let bad = vec![
        interaction("ada", "9", "2026-01-01T00:00:00Z"),
        interaction("ada", "1", "2026-01-01T00:00:00Z"),
    ];
    assert!(matches!(ingest(&mut store, bad), Err(Error::DuplicateId { line: 2, .. })));
    assert_eq!(
        ingest(&mut store, history("ada", 4)).unwrap(),
        IngestReport { added: 1, skipped: 3, new_users: 0 }
    );
}

#[test]
fn what_was_trained_waits_for_a_busy_state() {
    let (_folder, mut store) = on_file();
    with_periods(&mut store, &["ada"], 2);
    let other = again(&store, Access::ReadWrite);
    let lease = store.lease(&user("ada")).unwrap();
    store.connection.busy_timeout(Duration::ZERO).unwrap();
    let busy = || other.connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    busy();
    let mut waited = 0;
    let mut free = |event: crate::Event<'_>| {
        assert!(matches!(event, crate::Event::Waiting));
        waited += 1;
        if waited == 3 {
            other.connection.execute_batch("COMMIT").unwrap();
        }
        std::ops::ControlFlow::Continue(())
    };
    let first = commit("ada", 1, 0);
    assert_eq!(patiently(lease.expires, &mut free, || store.commit(&lease, &first)).unwrap(), 1);
    assert_eq!(waited, 3);
    // Longer than this value knows the lease to last: it was renewed meanwhile.
    let long_ago = crate::Lease { expires: Timestamp::UNIX_EPOCH, ..lease.clone() };
    assert!(patience(&long_ago) > Timestamp::now());
    assert!(patience(&lease) >= lease.expires);
    // Not for ever, and not against a request to stop.
    busy();
    let second = commit("ada", 2, 1);
    let late = patiently(Timestamp::now(), &mut (), || store.commit(&lease, &second));
    assert!(matches!(late, Err(Error::Busy { .. })));
    let stop = &mut |_: crate::Event<'_>| std::ops::ControlFlow::Break(());
    assert!(patiently(lease.expires, stop, || store.commit(&lease, &second)).unwrap_err().is_stopped());
    other.connection.execute_batch("COMMIT").unwrap();
    assert_eq!(store.commit(&lease, &second).unwrap(), 2);
}
