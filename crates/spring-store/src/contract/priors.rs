//! Priors: what everybody new starts from, whom it was learned from, and what is left of them.

use std::ops::ControlFlow;

use spring_lm::{Adapter, AdapterHash};
use spring_memory::UserId;

use super::{Subject, faults::only_text_of, samples::*, transfer::files};
use crate::{
    Contributors, Copied, CopyError, Error, Forgetting, Forgotten, MemoryStore, PeriodCommit,
    PriorChange, PriorPlan, PriorTexts, PriorUse, Relearned, Result, Settings, Store,
    backend::{ConsentRow, Durability, Outcome, PriorRow, RowsMut, Summed},
    record::PeriodRecord,
};

fn write(store: &Store, work: &mut dyn FnMut(&mut dyn RowsMut) -> Outcome<()>) -> Outcome<()> {
    store.backend().write(Durability::Power, work)
}

fn check(store: &Store) -> Result<()> {
    store.check(&mut |_| ControlFlow::Continue(()))
}

/// An adapter for everybody.
fn prior(seed: u64) -> Adapter {
    Adapter::from_bytes(&adapter_of("f00d", seed)).unwrap()
}

fn id_of(seed: u64) -> String {
    AdapterHash::of(&prior(seed)).to_string()
}

fn named(names: &[&str]) -> Contributors {
    Contributors::Named(names.iter().map(|name| user(name)).collect())
}

fn texts_of(store: &Store, from: Contributors) -> Result<PriorTexts> {
    store.prior_texts(&PriorPlan::default().with_from(from))
}

fn commit_of(store: &Store, texts: &PriorTexts, seed: u64) -> Result<PriorChange> {
    store.commit_prior(texts, &prior(seed), &record(1, 0).update, at(9))
}

/// Brings a prior into use that was learned from these users.
fn train(store: &Store, names: &[&str], seed: u64) -> PriorChange {
    commit_of(store, &texts_of(store, named(names)).unwrap(), seed).unwrap()
}

/// A first period that started from a prior.
fn started_from(seed: u64) -> PeriodCommit {
    let mut commit = commit(1, 0);
    commit.record.prior = Some(id_of(seed));
    commit
}

/// Number, whether it is in use, and how many started from it.
fn listed(store: &Store) -> Vec<(u32, bool, u64)> {
    let priors = store.priors().unwrap();
    priors.iter().map(|prior| (prior.number, prior.in_use, prior.started)).collect()
}

pub fn a_prior_is_kept_with_its_record_and_its_adapter(subject: &dyn Subject) {
    let store = subject.create(&settings());
    with_periods(&store, &["ada", "bob"], 2);
    let row = |number, id: &str, in_use, sum| PriorRow { number, id: id.into(), in_use, sum };
    let (one, two) = (row(1, "a", true, i64::MIN), row(7, "b", false, 5));
    let add = |rows: &mut dyn RowsMut, row: &PriorRow| {
        let record = Summed { value: "{\"ü\":1}", sum: i64::MAX };
        rows.add_prior(row, record, Summed { value: &[0, 255, 1], sum: -2 })
    };
    write(&store, &mut |rows| {
        assert_eq!(rows.priors()?, []);
        add(rows, &two)?;
        add(rows, &one)?;
        assert_eq!(rows.priors()?, [one.clone(), two.clone()]);
        let record = Summed { value: "{\"ü\":1}".to_owned(), sum: i64::MAX };
        assert_eq!(rows.prior_record(7)?, Some(record));
        assert_eq!(rows.prior_adapter(7)?, Some(Summed { value: vec![0, 255, 1], sum: -2 }));
        assert_eq!((rows.prior_record(2)?, rows.prior_adapter(2)?), (None, None));
        Ok(())
    })
    .unwrap();
    let before = dump(&store);
    for taken in [row(1, "c", false, 0), row(2, "a", false, 0)] {
        assert!(write(&store, &mut |rows| add(rows, &taken)).is_err(), "{taken:?}");
        assert_eq!(dump(&store), before);
    }
    write(&store, &mut |rows| {
        let changed = row(1, "a", false, 3);
        rows.put_prior(&changed)?;
        rows.put_prior_record(1, Summed { value: "[]", sum: 4 })?;
        rows.delete_prior(7)?;
        rows.delete_prior(7)?;
        assert_eq!(rows.priors()?, [changed]);
        assert_eq!(rows.prior_record(1)?, Some(Summed { value: "[]".to_owned(), sum: 4 }));
        assert_eq!(rows.prior_adapter(1)?, Some(Summed { value: vec![0, 255, 1], sum: -2 }));
        rows.delete_prior(1)?;
        let ada = rows.user(&user("ada"))?.unwrap().key;
        assert_eq!(rows.contribution(ada)?, None);
        for keep in [true, false] {
            let said = ConsentRow { keep, since: i64::MIN, sum: -3 };
            rows.put_contribution(ada, &said)?;
            assert_eq!(rows.contribution(ada)?, Some(said));
            assert_eq!(rows.consent(ada)?, None);
        }
        Ok(())
    })
    .unwrap();
    // Of users, and of what has no parent.
    put(&store, "ada", &commit(1, 0)).unwrap();
    store.rollback(&user("ada"), Some(0)).unwrap();
    put(&store, "ada", &commit(1, 0)).unwrap();
    put(&store, "bob", &commit(1, 0)).unwrap();
    put(&store, "bob", &commit(2, 1)).unwrap();
    write(&store, &mut |rows| {
        for (text, users) in [("\"period\":1,", 2), ("\"period\":2,", 0), ("'; %", 0)] {
            assert_eq!(rows.users_with(text)?, users, "{text}");
        }
        let ada = rows.user(&user("ada"))?.unwrap().key;
        rows.delete_user(ada)?;
        assert_eq!((rows.users_with("\"period\":1,")?, rows.contribution(ada)?), (1, None));
        Ok(())
    })
    .unwrap();
}

pub fn who_has_learned_nothing_starts_from_the_prior(subject: &dyn Subject) {
    let store = subject.create(&settings());
    with_periods(&store, &["ada", "bob"], 2);
    let bob = user("bob");
    let (before, digest) = (store.version(&bob).unwrap(), store.digest(&bob).unwrap());
    assert_eq!(store.prior().unwrap(), None);
    assert_eq!(train(&store, &["ada"], 1).number, Some(1));
    let snapshot = store.recall(&bob, None).unwrap();
    let start = snapshot.prior.unwrap();
    assert_eq!((start.number, &start.id, &*start.adapter), (1, &id_of(1), &prior(1)));
    assert_eq!(store.prior_by_id(&id_of(1)).unwrap(), Some(start));
    assert_eq!(store.prior_by_id(&id_of(2)).unwrap(), None);
    assert!(snapshot.generation.is_none());
    // Whoever has a model of Bob in hand is told, though of Bob nothing has changed.
    assert_ne!(store.version(&bob).unwrap(), before);
    assert_eq!(store.version(&bob).unwrap(), snapshot.version);
    assert_eq!(store.digest(&bob).unwrap(), digest);
    // What started elsewhere, or was begun before, is not committed.
    for elsewhere in [commit(1, 0), started_from(2)] {
        let refused = put(&store, "bob", &elsewhere);
        assert!(matches!(refused, Err(Error::Conflict { .. })), "{refused:?}");
    }
    let lease = store.lease(&bob).unwrap();
    let late = store.commit(&lease, &before, &started_from(1));
    assert!(matches!(late, Err(Error::Conflict { .. })), "{late:?}");
    store.release(&lease).unwrap();
    assert_eq!(put(&store, "bob", &started_from(1)).unwrap(), 1);
    check(&store).unwrap();

    // Who has learned stays where they are, and so does what they started from.
    let version = store.version(&bob).unwrap();
    let change = train(&store, &["ada"], 2);
    assert_eq!((change.number, change.removed), (Some(2), vec![]));
    assert_eq!(store.version(&bob).unwrap(), version);
    assert_eq!(listed(&store), [(1, false, 1), (2, true, 0)]);
    assert_eq!(put(&store, "bob", &commit(2, 1)).unwrap(), 2);
    // Before the first generation is what everybody starts from now.
    store.rollback(&bob, Some(0)).unwrap();
    assert_eq!(store.recall(&bob, None).unwrap().prior.unwrap().id, id_of(2));
    // The same adapter is the same prior; one that nobody started from goes with the next.
    assert_eq!(train(&store, &["ada"], 2).number, Some(2));
    let change = train(&store, &["ada"], 3);
    assert_eq!((change.number, change.removed), (Some(3), vec![2]));
    let change = store.drop_prior().unwrap();
    assert_eq!((change.number, change.removed), (Some(3), vec![3]));
    assert_eq!(store.drop_prior().unwrap().number, None);
    assert_eq!(store.recall(&bob, None).unwrap().prior, None);
    assert_eq!(listed(&store), [(1, false, 1)]);
    check(&store).unwrap();
    assert_eq!(store.sweep_priors().unwrap().removed, Vec::<u32>::new());
    store.forget(&bob).unwrap();
    assert_eq!(store.sweep_priors().unwrap().removed, [1]);
    assert_eq!(listed(&store), []);
}

/// The users, each with the numbers of the texts.
fn found(texts: &PriorTexts) -> Vec<(&str, Vec<u64>)> {
    let seqs = texts.contributors.iter().map(|(version, texts)| {
        (version.user().as_str(), texts.iter().map(|text| text.seq).collect())
    });
    seqs.collect()
}

pub fn a_prior_is_learned_from_those_who_agree(subject: &dyn Subject) {
    let store = subject.create(&settings());
    let [ada, bob, cy] = ["ada", "bob", "cy"].map(user);
    // The fifth of Ada's is held out, and the sixth can still be.
    store.ingest(history("ada", 5)).unwrap();
    store.cut_periods(&ada, 1, 0.2).unwrap();
    store.ingest(history("ada", 6)).unwrap();
    with_periods(&store, &["bob", "cy"], 2);
    store.add_user(&user("dan")).unwrap();
    let asked = |from| texts_of(&store, from).unwrap();
    for from in [Contributors::Same, Contributors::Consenting] {
        assert_eq!(asked(from).contributors, []);
    }
    let silent = store.contribution(&ada).unwrap();
    assert_eq!((silent.contributes, silent.since), (false, None));
    let said = store.set_contribution(&ada, true, at(5)).unwrap();
    assert_eq!((said.contributes, said.since), (true, Some(at(5))));
    assert_eq!(store.set_contribution(&ada, true, at(6)).unwrap(), said);
    store.set_contribution(&cy, false, at(6)).unwrap();
    let consenting = asked(Contributors::Consenting);
    assert_eq!(found(&consenting), [("ada", vec![1, 2, 3, 4])]);
    assert_eq!(consenting.refused, std::slice::from_ref(&cy));
    let plan = PriorPlan::default().with_from(Contributors::Consenting).with_most(3);
    assert_eq!(found(&store.prior_texts(&plan).unwrap()), [("ada", vec![2, 3, 4])]);
    let all = asked(Contributors::All);
    assert_eq!(found(&all), [("ada", vec![1, 2, 3, 4]), ("bob", vec![1, 2])]);
    assert_eq!((&all.refused, &all.silent), (&vec![cy.clone()], &vec![user("dan")]));
    let plan = PriorPlan::default().with_from(Contributors::All).with_except(vec![ada.clone()]);
    assert_eq!(found(&store.prior_texts(&plan).unwrap()), [("bob", vec![1, 2])]);
    assert_eq!(found(&asked(named(&["bob", "ada", "bob"]))), found(&all));
    let refused = texts_of(&store, named(&["ada", "cy"])).unwrap_err();
    assert!(matches!(&refused, Error::Withheld { user, .. } if *user == cy), "{refused}");
    let unknown = texts_of(&store, named(&["nobody"])).unwrap_err();
    assert!(matches!(unknown, Error::UnknownUser { .. }), "{unknown}");

    // To be named is to agree, and is on record.
    assert_eq!(store.contribution(&bob).unwrap().since, None);
    assert_eq!(commit_of(&store, &all, 1).unwrap().number, Some(1));
    let agreed = |user| store.contribution(user).unwrap().since;
    assert_eq!((agreed(&ada), agreed(&bob)), (Some(at(5)), Some(at(9))));
    let record = store.priors().unwrap().remove(0).record;
    assert_eq!((record.users, record.texts, record.forgotten), (2, 6, 0));
    assert_eq!((record.finished, record.base.as_str(), record.most), (at(9), "f00d", 100));
    let contributor = &record.contributors[1];
    assert_eq!((&contributor.user, contributor.agreed), (&bob, at(9)));
    let text = &contributor.texts[1];
    assert_eq!((text.seq, text.id.as_str(), text.digest.len()), (2, "2", 64));
    assert_ne!(text.digest, contributor.texts[0].digest);

    // The same users again, but for who took it back.
    assert_eq!(found(&asked(Contributors::Same)), found(&all));
    store.set_contribution(&bob, false, at(10)).unwrap();
    let again = asked(Contributors::Same);
    assert_eq!(found(&again), [("ada", vec![1, 2, 3, 4])]);
    assert_eq!(again.refused, std::slice::from_ref(&bob));
    // What was said or forgotten since the texts were read counts.
    let before = dump(&store);
    let late = commit_of(&store, &all, 2).unwrap_err();
    assert!(matches!(&late, Error::Withheld { user, .. } if *user == bob), "{late}");
    let other = Adapter::from_bytes(&adapter("beef")).unwrap();
    let update = &record.update;
    let refused = reason(store.commit_prior(&again, &other, update, at(9)));
    assert!(refused.contains("another base model"), "{refused}");
    assert_eq!(dump(&store), before);
    let forgetting = Forgetting { seq: 1, relearned: vec![] };
    let forgotten: Result<_> =
        store.with_lease(&ada, |lease| store.forget_interaction(lease, &forgetting));
    assert_eq!(forgotten.unwrap().priors, [1]);
    let late = commit_of(&store, &again, 2).unwrap_err();
    assert!(matches!(late, Error::Outdated { .. }), "{late}");
    assert_eq!(found(&asked(Contributors::Same)), [("ada", vec![2, 3, 4])]);
}

pub fn a_prior_is_told_by_whoever_forgets_what_it_knows(subject: &dyn Subject) {
    let store = subject.create(&settings());
    with_periods(&store, &["bob", "heliotrope"], 3);
    store.ingest(history("bob", 4)).unwrap();
    train(&store, &["bob", "heliotrope"], 1);
    let ada = user("heliotrope");
    let used = |texts| [PriorUse { number: 1, in_use: true, started: 0, texts }];
    assert_eq!(store.priors_from(&ada, Some(2)).unwrap(), used(1));
    assert_eq!(store.priors_from(&ada, None).unwrap(), used(3));
    assert_eq!(store.priors_from(&ada, Some(4)).unwrap(), []);
    let forget = |name: &UserId, seq| {
        let forgetting = Forgetting { seq, relearned: vec![] };
        let forgotten: Result<_> =
            store.with_lease(name, |lease| store.forget_interaction(lease, &forgetting));
        forgotten.unwrap().priors
    };
    assert_eq!(forget(&user("bob"), 4), Vec::<u32>::new());
    assert_eq!(forget(&ada, 2), [1]);
    let record = || store.priors().unwrap().remove(0).record;
    let seqs: Vec<u64> = record().contributors[1].texts.iter().map(|text| text.seq).collect();
    assert_eq!((record().forgotten, seqs), (1, vec![1, 3]));
    assert_eq!(store.forget(&ada).unwrap().priors, [1]);
    // How much it knows stays on record, and nothing of whose it was.
    let left = record();
    assert_eq!((left.users, left.texts, left.forgotten), (2, 6, 3));
    assert_eq!(left.contributors.len(), 1);
    assert!(dump(&store).iter().all(|line| !line.contains("heliotrope")));
    check(&store).unwrap();
}

pub fn who_started_from_a_prior_takes_it_along(subject: &dyn Subject) {
    let store = subject.create(&settings());
    with_periods(&store, &["ada", "dan"], 2);
    train(&store, &["ada"], 1);
    let mut first = PeriodCommit { buffer: vec![], ..only_text_of(1) };
    first.record.prior = Some(id_of(1));
    first.record.scores[0].adapter = Some(-2.0);
    put(&store, "dan", &first).unwrap();
    let dan = user("dan");
    store.set_contribution(&dan, false, at(3)).unwrap();
    let digest = store.digest(&dan).unwrap();

    // Into another state, where it does not come into use by that.
    let oracle = MemoryStore::in_memory(&settings()).unwrap();
    let any: &Store = &oracle;
    assert_eq!(any.copy_user(&store, &dan, false).unwrap(), Copied::Added);
    assert_eq!(any.digest(&dan).unwrap(), digest);
    assert_eq!(any.contribution(&dan).unwrap().since, Some(at(3)));
    assert_eq!(listed(any), [(1, false, 1)]);
    assert_eq!(any.copy_priors(&store).unwrap(), 0);
    assert_eq!(listed(any), [(1, true, 1)]);
    check(any).unwrap();
    let fresh = MemoryStore::in_memory(&settings()).unwrap();
    let fresh: &Store = &fresh;
    assert_eq!(fresh.copy_priors(&store).unwrap(), 1);
    assert_eq!(listed(fresh), [(1, true, 0)]);
    assert_eq!(fresh.priors().unwrap()[0].record, store.priors().unwrap()[0].record);
    let foreign = Settings { fingerprint: "beef".into(), ..settings() };
    let foreign = MemoryStore::in_memory(&foreign).unwrap();
    let foreign: &Store = &foreign;
    let refused = foreign.copy_priors(&store).unwrap_err();
    assert!(
        matches!(refused, Error::Copy { source: CopyError::OtherBase { .. }, .. }),
        "{refused}"
    );
    assert_eq!(listed(foreign), []);

    // By a folder, into a state that has another one.
    let place = tempfile::tempdir().unwrap();
    let (here, there) = (place.path().join("here"), place.path().join("there"));
    let step = &mut |_| ControlFlow::Continue(());
    store.export(&dan, &here, step).unwrap();
    let other = subject.create(&settings());
    with_periods(&other, &["eve"], 1);
    train(&other, &["eve"], 2);
    other.import(&here, &|_| Ok(()), step).unwrap();
    assert_eq!(other.digest(&dan).unwrap(), digest);
    assert_eq!(listed(&other), [(1, true, 0), (2, false, 1)]);
    check(&other).unwrap();
    other.export(&dan, &there, step).unwrap();
    let written = files(&here);
    assert_eq!(files(&there), written);
    // Whom the prior was learned from is nobody's business there.
    for (file, bytes) in &written {
        let name = b"\"ada\"";
        let is_named = bytes.windows(name.len()).any(|part| part == name);
        assert!(!is_named, "{}", file.display());
    }
    assert_eq!(other.priors().unwrap()[1].record.contributors, []);
    // Where a user brought it, the state itself brings whom it was learned from.
    assert_eq!(other.copy_priors(&store).unwrap(), 0);
    assert_eq!(other.priors().unwrap()[1].record, store.priors().unwrap()[0].record);
    assert_eq!(listed(&other), [(1, true, 0), (2, false, 1)]);

    // Without it, nothing could be forgotten or learned again.
    std::fs::remove_file(here.join("SHA256SUMS")).unwrap();
    let header = std::fs::read_to_string(here.join("user.json")).unwrap();
    assert!(header.contains("\"format\":4"), "{header}");
    let older = header.replace("\"format\":4", "\"format\":1");
    std::fs::write(here.join("user.json"), older).unwrap();
    let bare = subject.create(&settings());
    let refused = bare.import(&here, &|_| Ok(()), step).unwrap_err().to_string();
    assert!(refused.contains("generations.jsonl:1: it started from prior"), "{refused}");
    assert_eq!(bare.users(None, 9).unwrap(), []);
}

pub fn users_move_onto_another_start(subject: &dyn Subject) {
    let store = subject.create(&settings());
    with_periods(&store, &["ada", "bob"], 2);
    put(&store, "bob", &commit(1, 0)).unwrap();
    put(&store, "bob", &commit(2, 1)).unwrap();
    train(&store, &["ada"], 1);
    let bob = user("bob");
    let version = store.version(&bob).unwrap();
    let again = |number, prior: Option<String>| {
        let PeriodCommit { adapter, record, .. } = commit(number, number - 1);
        let record = PeriodRecord { prior, ..record };
        Relearned { number, memories: Some((adapter, vec![], vec![].into())), base: vec![], record }
    };
    let relearn = |prior: Option<String>| -> Result<()> {
        let relearned = [again(1, prior), again(2, None)];
        store.with_lease(&bob, |lease| store.relearn(lease, &relearned))
    };
    let before = store.digest(&bob).unwrap();
    for elsewhere in [None, Some(id_of(2))] {
        let refused = relearn(elsewhere).unwrap_err();
        assert!(matches!(refused, Error::Conflict { .. }), "{refused}");
    }
    assert_eq!(store.digest(&bob).unwrap(), before);
    relearn(Some(id_of(1))).unwrap();
    assert_ne!(store.version(&bob).unwrap(), version);
    assert_eq!(store.version(&bob).unwrap().generation(), 2);
    assert_eq!(store.record(&bob, 1).unwrap().record.prior, Some(id_of(1)));
    assert_eq!(store.user(&bob).unwrap().buffer, 0);
    assert_eq!(listed(&store), [(1, true, 1)]);
    check(&store).unwrap();
    // And back onto the base: nothing holds the prior any more.
    assert_eq!(store.drop_prior().unwrap().removed, Vec::<u32>::new());
    relearn(None).unwrap();
    assert_eq!(store.sweep_priors().unwrap().removed, [1]);
    check(&store).unwrap();
}

pub fn a_prior_that_is_not_what_was_written_is_told(subject: &dyn Subject) {
    type Damage = fn(&mut dyn RowsMut) -> Outcome<()>;
    let cases: [(&str, Damage); 2] = [
        ("damaged in table priors: prior 1: it is not", |rows| {
            let row = rows.priors()?.remove(0);
            rows.put_prior(&PriorRow { in_use: false, ..row })
        }),
        ("damaged in table priors: the record of prior 1: it is not", |rows| {
            rows.put_prior_record(1, Summed { value: "{}", sum: 0 })
        }),
    ];
    for (said, damage) in cases {
        let store = subject.create(&settings());
        with_periods(&store, &["ada"], 2);
        train(&store, &["ada"], 1);
        check(&store).unwrap();
        write(&store, &mut |rows| damage(rows)).unwrap();
        for found in [check(&store), store.priors().map(drop)] {
            let error = found.unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
            assert!(!error.contains("forget this user"), "{error}");
        }
    }
    // What started from one that is not there is told, too.
    let store = subject.create(&settings());
    with_periods(&store, &["ada", "bob"], 2);
    train(&store, &["ada"], 1);
    put(&store, "bob", &started_from(1)).unwrap();
    write(&store, &mut |rows| rows.delete_prior(1)).unwrap();
    let error = check(&store).unwrap_err().to_string();
    assert!(error.contains("user bob: generation 1 started from a prior"), "{error}");
}

pub fn a_damaged_prior_keeps_up_only_whom_it_may_know(subject: &dyn Subject) {
    let store = subject.create(&settings());
    with_periods(&store, &["ada", "bob", "cy"], 2);
    train(&store, &["ada"], 1);
    put(&store, "cy", &started_from(1)).unwrap();
    let damage = |rows: &mut dyn RowsMut| rows.put_prior_record(1, Summed { value: "{}", sum: 0 });
    write(&store, &mut |rows| damage(rows)).unwrap();
    let forget = |name: &str| -> Result<Forgotten> {
        let forgetting = Forgetting { seq: 2, relearned: vec![] };
        store.with_lease(&user(name), |lease| store.forget_interaction(lease, &forgetting))
    };
    // Nothing is learned of who has said nothing of it.
    assert_eq!(store.priors_from(&user("bob"), None).unwrap(), []);
    assert_eq!(forget("bob").unwrap().interactions, 1);
    store.forget(&user("bob")).unwrap();
    // Of who says no by now it may have been.
    store.set_contribution(&user("cy"), false, at(3)).unwrap();
    let digests = || ["ada", "cy"].map(|name| store.digest(&user(name)).unwrap());
    let before = digests();
    for name in ["ada", "cy"] {
        let found: [Result<()>; 3] = [
            store.priors_from(&user(name), None).map(drop),
            forget(name).map(drop),
            store.forget(&user(name)).map(drop),
        ];
        for found in found {
            let error = found.unwrap_err();
            let is_named =
                matches!(&error, Error::DamagedPrior { user, .. } if user.as_str() == name);
            assert!(is_named && !error.is_of_state(), "{error}");
            assert!(error.to_string().contains("the record of prior 1: it is not"), "{error}");
        }
    }
    assert_eq!(digests(), before);
    // Another one takes its place, and with the last who started from it, it is gone.
    let change = train(&store, &["ada"], 2);
    assert_eq!((change.number, change.removed), (Some(2), vec![]));
    assert_eq!(store.prior_summary(2).unwrap().unwrap().record.users, 1);
    assert_eq!(store.prior_summary(3).unwrap(), None);
    assert!(store.prior_summary(1).is_err() && store.priors().is_err());
    let PeriodCommit { adapter, record, .. } = started_from(2);
    let memories = Some((adapter, vec![], vec![].into()));
    let again = [Relearned { number: 1, memories, base: vec![], record }];
    let moved: Result<()> = store.with_lease(&user("cy"), |lease| store.relearn(lease, &again));
    moved.unwrap();
    assert_eq!(store.sweep_priors().unwrap().removed, [1]);
    assert_eq!(store.forget(&user("ada")).unwrap().priors, [2]);
    check(&store).unwrap();
}
