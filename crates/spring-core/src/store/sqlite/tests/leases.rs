use jiff::SignedDuration;

use super::*;
use crate::store::sqlite::keeper::Keeper;

fn again(store: &SqliteStore) -> SqliteStore {
    SqliteStore::open(store.path(), Access::ReadWrite).unwrap()
}

#[test]
fn one_at_a_time_trains_a_user() {
    let (_folder, mut store) = on_file();
    with_periods(&mut store, &["ada", "bob"], 2);
    let mut other = again(&store);
    let lease = store.lease(&user("ada")).unwrap();
    let error = other.lease(&user("ada")).unwrap_err().to_string();
    let process = format!("user ada is being updated by process {}", std::process::id());
    assert!(error.starts_with(&process) && error.contains("at the latest"), "{error}");
    assert!(matches!(other.rollback(&user("ada"), Some(0)), Err(Error::Leased { .. })));
    // Another user is free.
    assert_eq!(put(&mut other, &commit("bob", 1, 0)).unwrap(), 1);
    assert_eq!(store.commit(&lease, &commit("ada", 1, 0)).unwrap(), 1);
    store.release(&lease).unwrap();
    store.release(&lease).unwrap();
    assert_eq!(put(&mut other, &commit("ada", 2, 1)).unwrap(), 2);
}

#[test]
fn a_lease_that_ended_can_be_taken_and_commits_no_more() {
    let (_folder, mut store) = on_file();
    with_periods(&mut store, &["ada"], 2);
    let mut other = again(&store);
    let mut lease = store.lease(&user("ada")).unwrap();
    other.connection.execute("UPDATE leases SET expires = 1", ()).unwrap();
    let taken = other.lease(&user("ada")).unwrap();
    let before = dump(&store);
    assert!(matches!(store.commit(&lease, &commit("ada", 1, 0)), Err(Error::Conflict { .. })));
    assert!(matches!(store.renew(&mut lease), Err(Error::Conflict { .. })));
    store.release(&lease).unwrap();
    assert_eq!(dump(&store), before);
    assert_eq!(other.commit(&taken, &commit("ada", 1, 0)).unwrap(), 1);
}

#[test]
fn a_renewed_lease_lasts_longer() {
    let mut store = in_memory();
    with_periods(&mut store, &["ada"], 1);
    let mut lease = store.lease(&user("ada")).unwrap();
    store.connection.execute("UPDATE leases SET expires = 1", ()).unwrap();
    lease.expires = Timestamp::UNIX_EPOCH;
    store.renew(&mut lease).unwrap();
    assert!(lease.expires.duration_since(Timestamp::now()) > SignedDuration::from_mins(1));
    assert!(matches!(store.lease(&user("ada")), Err(Error::Leased { .. })));
}

#[cfg(target_os = "linux")]
#[test]
fn the_lease_of_a_process_that_died_is_free_at_once() {
    let mut store = in_memory();
    with_periods(&mut store, &["ada"], 1);
    store.lease(&user("ada")).unwrap();
    let mut child = std::process::Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    store.connection.execute("UPDATE leases SET process = ?1, started = 5", [child.id()]).unwrap();
    store.lease(&user("ada")).unwrap();
}

#[test]
fn a_forgotten_user_takes_the_lease_along() {
    let (_folder, mut store) = on_file();
    with_periods(&mut store, &["ada"], 1);
    let lease = store.lease(&user("ada")).unwrap();
    again(&store).forget(&user("ada")).unwrap();
    assert!(matches!(store.commit(&lease, &commit("ada", 1, 0)), Err(Error::UnknownUser { .. })));
    with_periods(&mut store, &["ada"], 1);
    assert!(matches!(store.commit(&lease, &commit("ada", 1, 0)), Err(Error::Conflict { .. })));
}

#[test]
fn users_with_something_to_learn_are_listed() {
    let mut store = in_memory();
    with_periods(&mut store, &["ada", "bob", "cy"], 2);
    ingest(&mut store, history("dan", 1)).unwrap();
    let names = |store: &SqliteStore, after: Option<&str>, limit| {
        let after = after.map(user);
        let users = store.users_to_adapt(after.as_ref(), limit).unwrap();
        users.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    for (name, period, parent) in [("ada", 1, 0), ("ada", 2, 1), ("bob", 1, 0), ("cy", 1, 0), ("cy", 2, 1)] {
        put(&mut store, &commit(name, period, parent)).unwrap();
    }
    assert_eq!(names(&store, None, 9), ["bob", "dan"]);
    assert_eq!(names(&store, None, 1), ["bob"]);
    assert_eq!(names(&store, Some("bob"), 9), ["dan"]);
    // Going back makes what was learned since unlearned; a new text is something new.
    store.rollback(&user("cy"), None).unwrap();
    ingest(&mut store, history("ada", 3)).unwrap();
    assert_eq!(names(&store, None, 9), ["ada", "bob", "cy", "dan"]);
}

#[test]
fn a_lease_is_renewed_without_any_progress() {
    let (_folder, mut store) = on_file();
    with_periods(&mut store, &["ada"], 1);
    let lease = store.lease(&user("ada")).unwrap();
    let expires = |store: &SqliteStore| -> i64 {
        store.connection.query_row("SELECT expires FROM leases", (), |row| row.get(0)).unwrap()
    };
    store.connection.execute("UPDATE leases SET expires = 1", ()).unwrap();
    let keeper = Keeper::start(store.path(), &lease, std::time::Duration::from_millis(5));
    let begin = std::time::Instant::now();
    while expires(&store) == 1 {
        assert!(begin.elapsed().as_secs() < 60, "never renewed");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(expires(&store) > Timestamp::now().as_second() + 60);
    drop(keeper);
    // It has ended with the value.
    store.connection.execute("UPDATE leases SET expires = 1", ()).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_eq!(expires(&store), 1);
    // Somebody else's is left alone.
    let taken = again(&store).lease(&user("ada")).unwrap();
    let before = expires(&store);
    store.connection.execute("UPDATE leases SET expires = expires - 60", ()).unwrap();
    let keeper = Keeper::start(store.path(), &lease, std::time::Duration::from_millis(5));
    std::thread::sleep(std::time::Duration::from_millis(50));
    drop(keeper);
    assert_eq!(expires(&store), before - 60);
    store.release(&taken).unwrap();
}
