//! Connections that end, and transactions that meet.

use std::{sync::Barrier, thread, time::Duration};

use super::*;
use crate::{Error, backend::ReplicaRow, postgres::NOW};

/// Ends all other connections to the state.
fn cut(store: &PostgresStore) {
    execute(
        store,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE pid <> pg_backend_pid() AND application_name = current_schema()",
    );
}

#[test]
fn a_connection_that_ends_between_calls_is_not_noticed() {
    if server().is_none() {
        return;
    }
    let schemas = InSchemas::default();
    let store = schemas.store();
    let other = PostgresStore::open(store.backend().pool.address(), Access::ReadWrite).unwrap();
    store.ingest(history("ada", 3)).unwrap();
    for _ in 0..3 {
        cut(&other);
        store.ingest(history("bob", 2)).unwrap();
        cut(&other);
        assert_eq!(store.user(&user("ada")).unwrap().interactions, 3);
    }
}

#[test]
fn a_write_that_loses_its_connection_runs_again() {
    if server().is_none() {
        return;
    }
    let schemas = InSchemas::default();
    let store = schemas.store();
    let other = PostgresStore::open(store.backend().pool.address(), Access::ReadWrite).unwrap();
    let mut runs = 0;
    let written = store.backend().write(Durability::Power, &mut |rows| {
        runs += 1;
        let key = rows.add_user(&user("ada"), 0)?.key;
        rows.put_answer(key, "{}".into())?;
        if runs == 1 {
            cut(&other);
        }
        rows.put_answer(key, "[]".into())
    });
    written.unwrap();
    assert_eq!(runs, 2);
    assert_eq!(execute(&store, "SELECT count(*) FROM answers"), ["2"]);
}

/// A disk that is full, as a statement is told of it, until the sequence `full_disk` is gone.
const FULL: &str = "
    CREATE SEQUENCE full_disk;
    CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF to_regclass(TG_TABLE_SCHEMA || '.full_disk') IS NOT NULL THEN
            RAISE EXCEPTION USING ERRCODE = '53100', MESSAGE = 'could not extend file';
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER filled BEFORE INSERT ON interactions FOR EACH ROW EXECUTE FUNCTION fill()";

#[test]
fn a_write_waits_for_room_on_the_server_s_disk() {
    if server().is_none() {
        return;
    }
    let schemas = InSchemas::default();
    let store = schemas.store();
    execute(&store, FULL);
    store.backend().set_wait(Duration::from_millis(50));
    let error = store.ingest(history("ada", 1)).unwrap_err();
    assert!(error.is_passing() && error.to_string().contains("disk of the server is full"));
    assert_eq!(store.users(None, 9).unwrap(), []);
    store.backend().set_wait(Duration::from_secs(30));
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(100));
            execute(&store, "DROP SEQUENCE full_disk");
        });
        store.ingest(history("ada", 1)).unwrap();
    });
    assert_eq!(store.user(&user("ada")).unwrap().interactions, 1);
}

#[test]
fn a_read_that_loses_its_connection_says_so() {
    if server().is_none() {
        return;
    }
    let schemas = InSchemas::default();
    let store = schemas.store();
    store.ingest(history("ada", 1)).unwrap();
    let other = PostgresStore::open(store.backend().pool.address(), Access::ReadWrite).unwrap();
    let read = store.backend().read(&mut |rows| {
        rows.user(&user("ada"))?;
        cut(&other);
        rows.user(&user("ada")).map(drop)
    });
    let said = read.unwrap_err().at("here").to_string();
    assert!(said.contains("connection") && said.contains("run"), "{said}");
    assert_eq!(store.user(&user("ada")).unwrap().interactions, 1);
}

/// A statement that fails has undone the transaction: a caller that goes on does not change that.
#[test]
fn a_failure_that_is_passed_over_is_told_at_the_end() {
    if server().is_none() {
        return;
    }
    let schemas = InSchemas::default();
    let store = schemas.store();
    let written = store.backend().write(Durability::Power, &mut |rows| {
        let key = rows.add_user(&user("ada"), 0)?.key;
        let _ = rows.put_embedding(key, 7, "b", (&[1_u8][..]).into());
        let _ = rows.user(&user("ada"));
        Ok(())
    });
    let said = written.unwrap_err().at("here").to_string();
    assert!(said.contains("embeddings"), "{said}");
    assert_eq!(store.users(None, 9).unwrap(), []);
}

#[test]
fn two_who_write_to_each_other_s_users_both_come_to_an_end() {
    if server().is_none() {
        return;
    }
    let schemas = InSchemas::default();
    let store = schemas.store();
    store.ingest(["ada", "bob"].map(|name| history(name, 1).remove(0))).unwrap();
    let met = Barrier::new(2);
    thread::scope(|scope| {
        for names in [["ada", "bob"], ["bob", "ada"]] {
            let (store, met) = (&store, &met);
            scope.spawn(move || {
                let mut runs = 0;
                let written = store.backend().write(Durability::Power, &mut |rows| {
                    for name in names {
                        let row = rows.user(&user(name))?.unwrap();
                        rows.put_answer(row.key, "{}".into())?;
                        if name == names[0] && runs == 0 {
                            met.wait();
                            runs += 1;
                        }
                    }
                    Ok(())
                });
                written.unwrap();
            });
        }
    });
    assert_eq!(execute(&store, "SELECT count(*) FROM answers"), ["4"]);
}

#[test]
fn the_same_new_user_may_come_from_two_sides() {
    if server().is_none() {
        return;
    }
    let schemas = InSchemas::default();
    let store = schemas.store();
    let met = Barrier::new(4);
    thread::scope(|scope| {
        for part in 0..4 {
            let (store, met) = (&store, &met);
            scope.spawn(move || {
                met.wait();
                let texts = history("ada", 40);
                store.ingest(texts.into_iter().skip(part).step_by(4)).unwrap();
            });
        }
    });
    assert_eq!(store.user(&user("ada")).unwrap().interactions, 40);
    store.check(&mut |_| std::ops::ControlFlow::Continue(())).unwrap();
}

#[test]
fn a_writer_keeps_nobody_from_another_user() {
    if server().is_none() {
        return;
    }
    let schemas = InSchemas::default();
    let store = schemas.store();
    store.ingest(["ada", "bob"].map(|name| history(name, 1).remove(0))).unwrap();
    let other = PostgresStore::open(store.backend().pool.address(), Access::ReadWrite).unwrap();
    other.backend().set_wait(Duration::from_millis(200));
    let written = store.backend().write(Durability::Power, &mut |rows| {
        rows.user(&user("ada"))?;
        other.ingest(history("bob", 2)).unwrap();
        let busy = other.ingest(history("ada", 2)).unwrap_err();
        assert!(matches!(busy, Error::Busy { .. }), "{busy}");
        Ok(())
    });
    written.unwrap();
}

/// Whoever asks while a runtime is around the call is answered as anywhere else.
#[test]
fn a_call_inside_a_runtime_is_answered() {
    if server().is_none() {
        return;
    }
    let schemas = InSchemas::default();
    let store = schemas.store();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        store.ingest(history("ada", 1)).unwrap();
        assert_eq!(store.user(&user("ada")).unwrap().interactions, 1);
    });
}

#[test]
fn servers_that_clear_up_after_each_other_do_not_wait_for_each_other() {
    if server().is_none() {
        return;
    }
    let schemas = InSchemas::default();
    let store = schemas.store();
    let other = PostgresStore::open(store.backend().pool.address(), Access::ReadWrite).unwrap();
    let start = &Barrier::new(2);
    let announce = |store: &PostgresStore, url: &str| -> Vec<String> {
        let backend = store.backend();
        let local = backend.local();
        let begin = format!("BEGIN ISOLATION LEVEL READ COMMITTED; {local}; SELECT {NOW}");
        let row = ReplicaRow { url: url.into(), load: 0.0 };
        let once = || {
            start.wait();
            // Whatever the other one has said is over; no second attempt hides what was in the way.
            let until = Instant::now() + backend.wait();
            backend.write_once(&begin, until, &mut |rows| rows.put_replica(&row, Duration::ZERO))
        };
        (0..50).filter_map(|_| once().err()).map(|failure| format!("{failure:?}")).collect()
    };
    let failures = thread::scope(|scope| {
        let one = scope.spawn(|| announce(&store, "http://a:1"));
        let mut failures = announce(&other, "http://b:1");
        failures.extend(one.join().unwrap());
        failures
    });
    assert_eq!(failures, Vec::<String>::new());
}
