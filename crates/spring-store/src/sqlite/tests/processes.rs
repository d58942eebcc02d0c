use std::{sync::mpsc, thread};

use super::*;

#[test]
fn a_writer_kept_waiting_says_why() {
    let (_folder, store) = on_file();
    let other = Connection::open(path(&store)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    store.backend().set_wait(Duration::from_millis(10));
    // Opening is no writing.
    drop(again(&store, Access::ReadWrite));
    let error = store.ingest(history("ada", 1)).unwrap_err();
    assert!(matches!(error, Error::Busy { waited, .. } if waited == Duration::from_millis(10)));
    let said = ": another process is writing to it and did not finish within 0.01 seconds";
    assert!(error.to_string().contains(said), "{error}");
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(store.ingest(history("ada", 1)).unwrap().added, 1);
}

#[test]
fn a_writer_waits_for_the_other() {
    let (_folder, store) = on_file();
    let other = Connection::open(path(&store)).unwrap();
    other
        .execute_batch("BEGIN IMMEDIATE; INSERT INTO users (name, sum) VALUES ('bob', 0)")
        .unwrap();
    let (begin, begun) = mpsc::channel();
    let report = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            begin.send(()).unwrap();
            store.ingest(history("ada", 1))
        });
        begun.recv().unwrap();
        thread::sleep(Duration::from_millis(50));
        other.execute_batch("COMMIT").unwrap();
        writer.join().unwrap()
    });
    assert_eq!(report.unwrap().added, 1);
    let users: u32 = with(&store, |connection| {
        connection.query_row("SELECT count(*) FROM users", (), |row| row.get(0))
    });
    assert_eq!(users, 2);
}

#[test]
fn a_reader_sees_what_is_committed_and_waits_for_nobody() {
    let (_folder, store) = on_file();
    let readers = [again(&store, Access::ReadOnly), again(&store, Access::ReadWrite)];
    for reader in &readers {
        reader.backend().set_wait(Duration::ZERO);
    }
    let look = || {
        for reader in &readers {
            assert!(reader.users(None, 9).unwrap().is_empty());
        }
    };
    let written = store.backend().write(Durability::Power, &mut |rows| {
        crate::store::Checked(rows).add_user(&user("ada"), 0)?;
        look();
        Ok(())
    });
    written.unwrap();
    for reader in &readers {
        assert_eq!(reader.user(&user("ada")).unwrap().interactions, 0);
    }
}

/// One value, many threads: each has a connection of its own while it works.
#[test]
fn threads_share_a_store() {
    let (_folder, store) = on_file();
    with_periods(&store, &["ada"], 2);
    let meet = std::sync::Barrier::new(4);
    thread::scope(|scope| {
        for number in 0..4 {
            let (store, meet) = (&store, &meet);
            scope.spawn(move || {
                store
                    .backend()
                    .read(&mut |rows| {
                        // All are inside a transaction at once.
                        meet.wait();
                        assert!(rows.user(&user("ada"))?.is_some());
                        Ok(())
                    })
                    .unwrap();
                store.ingest(history(&format!("user {number}"), 20)).unwrap();
            });
        }
    });
    assert_eq!(store.users(None, 9).unwrap().len(), 5);
    check(&store).unwrap();
}

#[test]
fn a_store_for_reading_writes_nothing() {
    let (_folder, mut store) = on_file();
    with_periods(&store, &["ada"], 2);
    store.ingest(history("ada", 3)).unwrap();
    let before = tables(&store);
    let mut reader = again(&store, Access::ReadOnly);
    let refused = [
        reason(reader.ingest(history("bob", 1))),
        reason(reader.cut_periods(&user("ada"), 1, 0.0)),
        reason(put(&reader, "ada", &commit(1, 0))),
        reason(keep(&reader, "ada", &answer("x"))),
        reason(reader.set_config(&Config { seed: 5, ..Config::default() })),
    ];
    for reason in refused {
        assert!(reason.starts_with("opened for reading only"), "{reason}");
    }
    assert_eq!(reader.settings(), &settings());
    assert_eq!(tables(&store), before);
    store.set_config(&Config { seed: 5, ..Config::default() }).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn the_lease_of_a_process_that_died_is_free_at_once() {
    let store = in_memory();
    with_periods(&store, &["ada"], 1);
    let error = {
        store.lease(&user("ada")).unwrap();
        store.lease(&user("ada")).unwrap_err().to_string()
    };
    let process = format!("user ada is being updated by process {}", std::process::id());
    assert!(error.starts_with(&process), "{error}");
    let mut child = std::process::Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let id = child.id();
    execute(&store, &format!("UPDATE leases SET process = {id}, started = 5"));
    sum_again(&store);
    store.lease(&user("ada")).unwrap();
}
