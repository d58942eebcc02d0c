//! Servers that answer for the state.

use std::{thread, time::Duration};

use super::{Subject, samples::*};
use crate::{
    Replica,
    backend::{Durability, ReplicaRow},
};

const LONG: Duration = Duration::from_secs(3600);

fn replica(url: &str, load: f64) -> Replica {
    Replica { url: url.into(), load }
}

pub fn who_announces_itself_is_found_until_it_withdraws(subject: &dyn Subject) {
    let store = subject.create(&settings());
    store.ingest(history("ada", 1)).unwrap();
    let (before, digest) = (dump(&store), store.digest(&user("ada")).unwrap());
    let other = subject.again(&store);
    let other: &crate::Store = other.as_ref().unwrap_or(&store);
    assert_eq!(store.replicas(LONG).unwrap(), []);
    let (b, a) = (replica("http://b:1", 0.5), replica("http://a:1", 0.0));
    assert_eq!(store.announce(&b, LONG).unwrap(), std::slice::from_ref(&b));
    assert_eq!(other.announce(&a, LONG).unwrap(), [a.clone(), b.clone()]);
    let busy = replica("http://b:1", 7.25);
    assert_eq!(store.announce(&busy, LONG).unwrap(), [a.clone(), busy.clone()]);
    assert_eq!(other.replicas(LONG).unwrap(), [a.clone(), busy]);
    store.withdraw("http://b:1").unwrap();
    store.withdraw("http://nobody:1").unwrap();
    assert_eq!(other.replicas(LONG).unwrap(), [a]);
    // It is no part of what is kept of users.
    assert_eq!(dump(&store), before);
    assert_eq!(store.digest(&user("ada")).unwrap(), digest);
}

pub fn who_is_not_heard_of_is_gone(subject: &dyn Subject) {
    let store = subject.create(&settings());
    let (gone, there) = (replica("http://gone:1", 0.0), replica("http://there:1", 0.0));
    store.announce(&gone, LONG).unwrap();
    let short = Duration::from_millis(20);
    thread::sleep(10 * short);
    assert_eq!(store.replicas(short).unwrap(), []);
    assert_eq!(store.replicas(LONG).unwrap(), [gone]);
    // The next one removes it.
    store.announce(&there, short).unwrap();
    assert_eq!(store.replicas(LONG).unwrap(), [there]);
}

pub fn an_announcement_that_is_undone_was_none(subject: &dyn Subject) {
    let store = subject.create(&settings());
    let undone = store.backend().write(Durability::Process, &mut |rows| {
        rows.put_replica(&ReplicaRow { url: "http://a:1".into(), load: 0.0 }, LONG)?;
        rows.replicas(LONG)?;
        Err(crate::backend::Fault::Unusable("no".into()))
    });
    assert!(undone.is_err());
    assert_eq!(store.replicas(LONG).unwrap(), []);
}
