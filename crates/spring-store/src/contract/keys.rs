//! Keys, and what users have said of conversations.

use std::ops::ControlFlow;

use super::{Subject, samples::*};
use crate::{
    Copied, CopyError, Error, KeyAccess, MemoryStore, NewKey, Store, TransferError,
    backend::{ConsentRow, Durability, KeyRow, Outcome, RowsMut},
};

fn write(store: &Store, work: &mut dyn FnMut(&mut dyn RowsMut) -> Outcome<()>) -> Outcome<()> {
    store.backend().write(Durability::Power, work)
}

fn check(store: &Store) -> crate::Result<()> {
    store.check(&mut |_| ControlFlow::Continue(()))
}

pub fn keys_are_found_by_their_hash_and_changed_by_their_id(subject: &dyn Subject) {
    let store = subject.create(&settings());
    store.add_user(&user("ada")).unwrap();
    let row = |id: &str, byte: u8, user, sum| KeyRow {
        id: id.into(),
        hash: vec![byte; 32],
        user,
        record: "{}".into(),
        sum,
    };
    let mut ada = 0;
    write(&store, &mut |rows| {
        ada = rows.user(&user("ada"))?.unwrap().key;
        let (of_ada, of_nobody) = (row("b", 1, Some(ada), i64::MIN), row("a", 0xff, None, 1));
        rows.put_key(&of_ada)?;
        rows.put_key(&of_nobody)?;
        assert_eq!(rows.keys()?, [of_nobody.clone(), of_ada.clone()]);
        assert_eq!(rows.key(&[1; 32])?, Some(of_ada.clone()));
        assert_eq!(rows.key(&[2; 32])?, None);
        let changed = KeyRow { record: "[]".into(), sum: 7, ..of_ada };
        rows.put_key(&changed)?;
        assert_eq!(rows.keys()?, [of_nobody, changed]);
        assert_eq!(rows.consent(ada)?, None);
        for keep in [true, false] {
            let said = ConsentRow { keep, since: i64::MIN, sum: -3 };
            rows.put_consent(ada, &said)?;
            assert_eq!(rows.consent(ada)?, Some(said));
        }
        Ok(())
    })
    .unwrap();
    let before = dump(&store);
    for refused in [row("c", 1, None, 0), row("c", 3, Some(ada + 99), 0)] {
        assert!(write(&store, &mut |rows| rows.put_key(&refused)).is_err(), "{refused:?}");
        assert_eq!(dump(&store), before);
    }
    write(&store, &mut |rows| rows.delete_user(ada)).unwrap();
    write(&store, &mut |rows| {
        assert_eq!(rows.keys()?, [row("a", 0xff, None, 1)]);
        assert_eq!(rows.consent(ada)?, None);
        Ok(())
    })
    .unwrap();
}

pub fn a_key_opens_until_it_is_revoked(subject: &dyn Subject) {
    let store = subject.create(&settings());
    assert!(!store.has_keys().unwrap());
    assert_eq!(store.key(&[1; 32]).unwrap(), None);
    let mut new = key_of("ada");
    (new.label, new.requests_per_minute) = ("laptop".into(), Some(7));
    let ada = store.add_key(&[1; 32], &new, at(5)).unwrap();
    assert_eq!(ada.id, "key-010101010101");
    assert_eq!(store.user(&user("ada")).unwrap().interactions, 0, "the user is made");
    let admin = store.add_key(&[2; 32], &NewKey::new(KeyAccess::Admin), at(4)).unwrap();
    assert!(store.has_keys().unwrap());
    assert_eq!(store.keys().unwrap(), [admin.clone(), ada.clone()]);
    assert_eq!(store.key(&[1; 32]).unwrap(), Some(ada.clone()));
    assert_eq!((ada.record.label.as_str(), ada.record.requests_per_minute), ("laptop", Some(7)));
    // The same token twice is none.
    assert!(reason(store.add_key(&[1; 32], &key_of("bob"), at(6))).contains("already"));
    let missing = store.revoke_key("key-nothing", at(7)).unwrap_err();
    assert!(matches!(missing, Error::UnknownKey { .. }), "{missing}");
    let revoked = store.revoke_key(&ada.id, at(8)).unwrap();
    assert_eq!(revoked.record.revoked, Some(at(8)));
    assert_eq!(store.revoke_key(&ada.id, at(9)).unwrap(), revoked);
    assert_eq!(store.key(&[1; 32]).unwrap(), None);
    assert_eq!(store.keys().unwrap(), [admin.clone(), revoked]);
    // Taking the last one away opens nothing.
    store.revoke_key(&admin.id, at(9)).unwrap();
    assert!(store.has_keys().unwrap());
    check(&store).unwrap();
    for label in ["a\nb".to_owned(), "x".repeat(257)] {
        let labelled = NewKey { label, ..NewKey::new(KeyAccess::Gateway) };
        assert!(matches!(store.add_key(&[3; 32], &labelled, at(0)), Err(Error::Setting(_))));
    }
}

pub fn a_key_goes_with_its_user_and_moves_with_the_state(subject: &dyn Subject) {
    let (here, there) = (subject.create(&settings()), subject.create(&settings()));
    here.ingest(history("ada", 2)).unwrap();
    let without = here.digest(&user("ada")).unwrap();
    let ada = here.add_key(&[1; 32], &key_of("ada"), at(1)).unwrap();
    let gateway = here.add_key(&[2; 32], &NewKey::new(KeyAccess::Gateway), at(2)).unwrap();
    assert_eq!(here.digest(&user("ada")).unwrap(), without, "a key is no part of a user");
    // No export has it.
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("ada");
    here.export(&user("ada"), &folder, &mut |_| ControlFlow::Continue(())).unwrap();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!text.contains(&ada.id) && !text.contains("01010101"), "{text}");
    }
    there.copy_user(&here, &user("ada"), false).unwrap();
    assert!(!there.has_keys().unwrap());
    assert_eq!(there.copy_keys(&here).unwrap(), 2);
    assert_eq!(there.copy_keys(&here).unwrap(), 0);
    assert_eq!(there.keys().unwrap(), here.keys().unwrap());
    here.revoke_key(&gateway.id, at(3)).unwrap();
    assert_eq!(there.copy_keys(&here).unwrap(), 1);
    assert_eq!(there.key(&[2; 32]).unwrap(), None);
    // What was revoked there stays so.
    let before = there.keys().unwrap();
    here.revoke_key(&ada.id, at(4)).unwrap();
    assert_eq!(here.copy_keys(&there).unwrap(), 0);
    assert_ne!(here.keys().unwrap(), before);
    there.forget(&user("ada")).unwrap();
    assert_eq!(there.key(&[1; 32]).unwrap(), None);
    assert_eq!(there.keys().unwrap().len(), 1);
    check(&there).unwrap();
    // The last key takes itself along, and not that one is asked for.
    let alone = subject.create(&settings());
    alone.add_key(&[1; 32], &key_of("ada"), at(1)).unwrap();
    alone.forget(&user("ada")).unwrap();
    assert!(alone.has_keys().unwrap() && alone.key(&[0; 32]).unwrap().is_none());
    check(&alone).unwrap();
}

pub fn the_keys_of_a_user_who_is_replaced_open_nothing_new(subject: &dyn Subject) {
    let (here, there) = (subject.create(&settings()), subject.create(&settings()));
    let ada = user("ada");
    here.ingest(history("ada", 2)).unwrap();
    there.ingest(history("ada", 3)).unwrap();
    // 1, 2 and 6 both have, 2 was revoked here and 6 there; 3 and 4 are this one's own, 4 was
    // revoked.
    for byte in [1, 2, 3, 4, 6] {
        here.add_key(&[byte; 32], &key_of("ada"), at(1)).unwrap();
    }
    for byte in [1, 2, 6] {
        there.add_key(&[byte; 32], &key_of("ada"), at(1)).unwrap();
    }
    let id = |byte| crate::ApiKey::id_of(&[byte; 32]);
    here.revoke_key(&id(2), at(2)).unwrap();
    here.revoke_key(&id(4), at(2)).unwrap();
    there.revoke_key(&id(6), at(3)).unwrap();
    let gateway = here.add_key(&[5; 32], &NewKey::new(KeyAccess::Gateway), at(1)).unwrap();
    let differs = here.copy_user(&there, &ada, false).unwrap_err();
    assert!(matches!(differs, Error::Copy { .. }), "{differs}");
    let replaced = here.copy_user(&there, &ada, true).unwrap();
    assert_eq!(replaced, Copied::Replaced { keys_revoked: 2 });
    assert_eq!(here.key(&[6; 32]).unwrap(), None, "before the keys are copied");
    assert_eq!(here.copy_keys(&there).unwrap(), 0);
    assert_eq!(here.digest(&ada).unwrap(), there.digest(&ada).unwrap());
    let opens = |byte| here.key(&[byte; 32]).unwrap().is_some();
    assert_eq!([1, 2, 3, 4, 5, 6].map(opens), [true, false, false, false, true, false]);
    let keys = here.keys().unwrap();
    let revoked = |byte| keys.iter().find(|key| key.id == id(byte)).unwrap().record.revoked;
    assert_eq!([2, 4].map(revoked), [Some(at(2)), Some(at(2))], "as they were");
    assert_eq!(revoked(6), Some(at(3)), "as it was there");
    assert!(keys.contains(&gateway), "one that is no user's stays");
    check(&here).unwrap();
    // They go with the user as before.
    here.forget(&ada).unwrap();
    assert_eq!(here.keys().unwrap(), [gateway]);

    // An account that was made first keeps its key when the texts come.
    let new = subject.create(&settings());
    let key = new.add_key(&[7; 32], &key_of("ada"), at(1)).unwrap();
    assert_eq!(new.copy_user(&there, &ada, false).unwrap(), Copied::Added);
    assert_eq!(new.key(&[7; 32]).unwrap(), Some(key));
    assert_eq!(new.digest(&ada).unwrap(), there.digest(&ada).unwrap());
    check(&new).unwrap();
}

/// Not even until the keys are copied.
pub fn a_key_that_was_revoked_there_does_not_open_what_comes_from_there(subject: &dyn Subject) {
    let (here, there) = (subject.create(&settings()), subject.create(&settings()));
    let ada = user("ada");
    there.ingest(history("ada", 3)).unwrap();
    let news = [key_of("ada"), NewKey::new(KeyAccess::Gateway), NewKey::new(KeyAccess::Admin)];
    for store in [&*here, &*there] {
        for (byte, new) in (1..).zip(&news) {
            store.add_key(&[byte; 32], new, at(1)).unwrap();
        }
    }
    let id = |byte| crate::ApiKey::id_of(&[byte; 32]);
    there.revoke_key(&id(1), at(2)).unwrap();
    there.revoke_key(&id(2), at(3)).unwrap();
    let opens = || [1, 2, 3].map(|byte| here.key(&[byte; 32]).unwrap().is_some());
    assert_eq!(opens(), [true; 3]);
    assert_eq!(here.copy_user(&there, &ada, false).unwrap(), Copied::Added);
    assert_eq!(opens(), [false, false, true]);
    let revoked = |byte| {
        let keys = here.keys().unwrap();
        keys.iter().find(|key| key.id == id(byte)).unwrap().record.revoked
    };
    assert_eq!([1, 2].map(revoked), [Some(at(2)), Some(at(3))], "as they were there");
    check(&here).unwrap();
    // Of users who are there already, before anything else is done.
    there.revoke_key(&id(3), at(4)).unwrap();
    assert_eq!(here.copy_revocations(&there).unwrap(), 1);
    assert_eq!((opens(), revoked(3)), ([false; 3], Some(at(4))));
    assert_eq!(here.copy_revocations(&there).unwrap(), 0);
    assert_eq!(here.copy_keys(&there).unwrap(), 0);
    check(&here).unwrap();
    // It revokes, and adds nothing.
    let other = subject.create(&settings());
    assert_eq!(other.copy_revocations(&there).unwrap(), 0);
    assert_eq!(other.keys().unwrap(), []);
}

/// A token opens what its key says in the state where it is used, whatever it opens elsewhere.
pub fn a_copy_revokes_the_keys_that_open_it_and_no_others(subject: &dyn Subject) {
    let (here, there) = (subject.create(&settings()), subject.create(&settings()));
    there.ingest(history("ada", 3)).unwrap();
    let gateway = || NewKey::new(KeyAccess::Gateway);
    let pairs = [
        (key_of("bob"), key_of("bob")),
        (gateway(), key_of("bob")),
        (key_of("ada"), key_of("bob")),
        (key_of("bob"), gateway()),
        (key_of("bob"), key_of("ada")),
    ];
    for (byte, (theirs, ours)) in (1..).zip(&pairs) {
        let key = there.add_key(&[byte; 32], theirs, at(1)).unwrap();
        there.revoke_key(&key.id, at(2)).unwrap();
        here.add_key(&[byte; 32], ours, at(1)).unwrap();
    }
    let opens = || [1, 2, 3, 4, 5].map(|byte| here.key(&[byte; 32]).unwrap().is_some());
    assert_eq!(here.copy_user(&there, &user("ada"), false).unwrap(), Copied::Added);
    assert_eq!(opens(), [true, true, true, false, false]);
    assert_eq!(here.copy_revocations(&there).unwrap(), 3);
    assert_eq!(opens(), [false; 5]);
    check(&here).unwrap();
}

pub fn a_user_who_only_got_answers_is_not_mixed_with_another(subject: &dyn Subject) {
    let (here, there) = (subject.create(&settings()), subject.create(&settings()));
    let ada = user("ada");
    there.ingest(history("ada", 3)).unwrap();
    there.add_key(&[1; 32], &key_of("ada"), at(1)).unwrap();
    here.add_key(&[2; 32], &key_of("ada"), at(1)).unwrap();
    keep(&here, "ada", &answer("said to somebody else")).unwrap();
    let before = dump(&here);
    let differs = here.copy_user(&there, &ada, false).unwrap_err();
    assert!(matches!(differs, Error::Copy { source: CopyError::Differs { .. }, .. }), "{differs}");
    assert_eq!(dump(&here), before);
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("ada");
    there.export(&ada, &folder, &mut |_| ControlFlow::Continue(())).unwrap();
    let import = here.import(&folder, &|_| Ok(()), &mut |_| ControlFlow::Continue(()));
    let present = import.unwrap_err();
    let is_present = matches!(present, Error::Transfer(TransferError::Present { .. }));
    assert!(is_present, "{present}");
    assert_eq!(dump(&here), before);
    let replaced = here.copy_user(&there, &ada, true).unwrap();
    assert_eq!(replaced, Copied::Replaced { keys_revoked: 1 });
    assert_eq!(here.digest(&ada).unwrap(), there.digest(&ada).unwrap());
    assert_eq!(here.answers(&ada, 9).unwrap(), []);
    assert_eq!(here.key(&[2; 32]).unwrap(), None, "it was given out for the other user");
    check(&here).unwrap();
}

/// Who made an account first keeps it when the texts come after.
pub fn an_import_keeps_the_key_of_a_user_without_texts(subject: &dyn Subject) {
    let (here, there) = (subject.create(&settings()), subject.create(&settings()));
    here.ingest(history("ada", 2)).unwrap();
    here.set_consent(&user("ada"), true, at(1)).unwrap();
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("ada");
    here.export(&user("ada"), &folder, &mut |_| ControlFlow::Continue(())).unwrap();
    let key = there.add_key(&[1; 32], &key_of("ada"), at(1)).unwrap();
    let import = |store: &Store| {
        store.import(&folder, &|_| Ok(()), &mut |_| ControlFlow::Continue(())).map(drop)
    };
    import(&there).unwrap();
    assert_eq!(there.key(&[1; 32]).unwrap(), Some(key));
    assert_eq!(there.digest(&user("ada")).unwrap(), here.digest(&user("ada")).unwrap());
    assert!(import(&there).is_err(), "now there are texts");
    // What was said here counts.
    let other = subject.create(&settings());
    other.add_user(&user("ada")).unwrap();
    other.set_consent(&user("ada"), false, at(2)).unwrap();
    import(&other).unwrap();
    assert!(!other.consent(&user("ada")).unwrap().keep_conversations);
    check(&other).unwrap();
}

pub fn consent_is_no_until_it_is_said_and_travels(subject: &dyn Subject) {
    let store = subject.create(&settings());
    let ada = user("ada");
    assert!(matches!(store.consent(&ada), Err(Error::UnknownUser { .. })));
    store.ingest(history("ada", 2)).unwrap();
    let silent = store.consent(&ada).unwrap();
    assert_eq!((silent.keep_conversations, silent.since), (false, None));
    let unsaid = store.digest(&ada).unwrap();
    let said = store.set_consent(&ada, true, at(5)).unwrap();
    assert_eq!((said.keep_conversations, said.since), (true, Some(at(5))));
    assert_eq!(store.set_consent(&ada, true, at(6)).unwrap(), said);
    assert!(store.user(&ada).unwrap().consent);
    assert_ne!(store.digest(&ada).unwrap(), unsaid);
    let oracle = MemoryStore::in_memory(&settings()).unwrap();
    let any: &Store = &oracle;
    oracle.copy_user(&*store, &ada, false).unwrap();
    assert_eq!(any.consent(&ada).unwrap(), said);
    // One that was taken back is taken back everywhere.
    store.set_consent(&ada, false, at(7)).unwrap();
    assert!(oracle.copy_user(&*store, &ada, false).is_err());
    oracle.copy_user(&*store, &ada, true).unwrap();
    assert_eq!(any.consent(&ada).unwrap().since, Some(at(7)));
    assert!(!any.user(&ada).unwrap().consent);
}

pub fn a_conversation_is_kept_with_consent_alone(subject: &dyn Subject) {
    let store = subject.create(&settings());
    store.ingest(history("ada", 2)).unwrap();
    let ada = user("ada");
    let version = store.version(&ada).unwrap();
    let text = |name| interaction("ada", name, "2026-03-01T00:00:00Z");
    let before = dump(&store);
    assert!(!store.keep_conversation(&version, &text("c1")).unwrap());
    assert_eq!(dump(&store), before);
    store.set_consent(&ada, true, at(5)).unwrap();
    for _ in 0..2 {
        assert!(store.keep_conversation(&version, &text("c1")).unwrap());
    }
    // What was really used takes its place, under a number of its own.
    let ids = |store: &Store| store.history(&ada).unwrap().entries;
    let kept = ids(&store).last().unwrap().stored.clone();
    let mut used = text("c1");
    used.response = "What I sent in the end.".into();
    assert!(store.replace_pending(&ada, &used).unwrap());
    let there = ids(&store).last().unwrap().stored.clone();
    assert_eq!((there.interaction, there.seq), (used, kept.seq + 1));
    assert!(!store.replace_pending(&ada, &text("unknown")).unwrap());
    assert!(store.replace_pending(&ada, &text("c1")).unwrap());
    let summary = store.user(&ada).unwrap();
    assert_eq!((summary.interactions, summary.pending), (3, 3));
    assert_eq!(store.find(&ada, &id("c1")).unwrap(), Some(kept.seq + 2));
    let other = interaction("ada", "c1", "2026-03-02T00:00:00Z");
    let taken = store.keep_conversation(&version, &other).unwrap_err();
    assert!(matches!(taken, Error::DuplicateId { .. }), "{taken}");
    store.set_consent(&ada, false, at(6)).unwrap();
    assert!(!store.keep_conversation(&version, &text("c2")).unwrap());
    // What may quote a text that was forgotten meanwhile is not kept.
    store.set_consent(&ada, true, at(7)).unwrap();
    let forgetting = crate::Forgetting { seq: 1, relearned: vec![] };
    let forgotten = store.with_lease(&ada, |lease| store.forget_interaction(lease, &forgetting));
    assert_eq!(forgotten.unwrap().interactions, 1);
    let late = store.keep_conversation(&version, &text("c3")).unwrap_err();
    assert!(matches!(late, Error::Outdated { .. }), "{late}");
    check(&store).unwrap();
}
