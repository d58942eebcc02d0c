//! What a backend promises of its rows.

use super::{Subject, samples::*};
use crate::backend::{
    Durability, Fault, Holder, InteractionRow, InteractionSums, LearnedRow, LeaseRow, MemberRow,
    Outcome, RowsMut, SettingsRow, Summed, Text, Texts, Users,
};

/// Changes rows of the user of a key.
type Change<'c> = &'c mut dyn FnMut(&mut dyn RowsMut, i64) -> Outcome<()>;

fn row(seq: u64, id: &str) -> InteractionRow {
    InteractionRow {
        seq,
        id: id.into(),
        seconds: -1,
        nanoseconds: -1,
        base: None,
        meta: None,
        prompt: "p\0".into(),
        response: "r".into(),
        place: None,
        sums: InteractionSums { text: i64::MIN, base: None, place: None },
    }
}

fn member(seq: u64, held_out: bool) -> MemberRow {
    MemberRow { seq, held_out, sum: i64::MAX }
}

pub fn a_write_that_fails_changes_nothing(subject: &dyn Subject) {
    let store = subject.create(&settings());
    with_periods(&store, &["ada"], 2);
    put(&store, "ada", &commit(1, 0)).unwrap();
    let before = dump(&store);
    let failed = store.backend().write(Durability::Power, &mut |rows| {
        let bob = rows.add_user(&user("bob"), 0)?;
        rows.put_interaction(bob.key, &row(1, "x"))?;
        rows.put_period(bob.key, 1, &[member(1, false)])?;
        rows.put_answer(bob.key, "{}".into())?;
        let ada = rows.user(&user("ada"))?.unwrap();
        rows.delete_user(ada.key)?;
        rows.forget_bases()?;
        rows.put_settings(&SettingsRow { removals: 9, ..rows.settings()? })?;
        Err(Fault::Unusable("as planned".into()))
    });
    assert!(matches!(failed, Err(Fault::Unusable(reason)) if reason == "as planned"));
    assert_eq!(dump(&store), before);
}

pub fn a_reader_sees_the_rows_as_of_its_call(subject: &dyn Subject) {
    let store = subject.create(&settings());
    let Some(other) = subject.again(&store) else { return };
    store.ingest(history("ada", 2)).unwrap();
    let read = other.backend().read(&mut |rows| {
        let ada = rows.user(&user("ada"))?.unwrap();
        assert_eq!(rows.extent(ada.key)?.interactions, 2);
        store.ingest(history("ada", 5)).unwrap();
        store.ingest(history("bob", 1)).unwrap();
        assert_eq!(rows.extent(ada.key)?.interactions, 2);
        assert_eq!(rows.users(Users::All, None, 9)?, [user("ada")]);
        Ok(())
    });
    read.unwrap();
    assert_eq!(other.user(&user("ada")).unwrap().interactions, 5);
}

pub fn keys_and_names_are_one_to_one(subject: &dyn Subject) {
    let store = subject.create(&settings());
    let write = |work: &mut dyn FnMut(&mut dyn RowsMut) -> Outcome<()>| {
        store.backend().write(Durability::Power, work)
    };
    write(&mut |rows| {
        let [ada, bob] = [rows.add_user(&user("ada"), 3)?, rows.add_user(&user("bob"), 4)?];
        assert_ne!(ada.key, bob.key);
        assert_eq!(rows.user(&user("ada"))?, Some(ada.clone()));
        assert_eq!((ada.next_seq, ada.generation, ada.pending, ada.removals), (1, 0, 0, 3));
        // Users have numbers and ids of their own.
        for key in [ada.key, bob.key] {
            rows.put_interaction(key, &row(7, "x"))?;
            rows.put_interaction(key, &row(3, "y"))?;
        }
        rows.put_period(bob.key, 2, &[member(3, true)])?;
        assert_eq!(rows.interaction(ada.key, Text::Seq(3))?, Some(row(3, "y")));
        let mut placed = InteractionRow { place: Some((2, true)), ..row(3, "y") };
        placed.sums.place = Some(i64::MAX);
        assert_eq!(rows.interaction(bob.key, Text::Id("y"))?, Some(placed));
        assert_eq!(rows.interaction(bob.key, Text::Seq(u64::MAX))?, None);
        let base = Summed { value: -0.5, sum: i64::MIN };
        assert!(rows.set_base(bob.key, 7, base)?);
        assert!(!rows.set_base(bob.key, 1, base)?);
        let mut measured = InteractionRow { base: Some(base.value), ..row(7, "x") };
        measured.sums.base = Some(base.sum);
        assert_eq!(rows.interaction(bob.key, Text::Seq(7))?, Some(measured));
        rows.put_embedding(bob.key, 7, "b", Summed { value: &[1, 2], sum: -1 })?;
        let embedding = rows.embedding(bob.key, 7, "b")?;
        assert_eq!(embedding, Some(Summed { value: vec![1, 2], sum: -1 }));
        rows.put_graph(bob.key, Some(Summed { value: "{}", sum: 5 }))?;
        assert_eq!(rows.graph(bob.key)?, Some(Summed { value: "{}".to_owned(), sum: 5 }));
        let mut seqs = Vec::new();
        for which in [Texts::BySeq, Texts::Pending, Texts::Period(2), Texts::Period(1)] {
            rows.interactions(bob.key, which, &mut |row| {
                seqs.push(row.seq);
                Ok(())
            })?;
        }
        assert_eq!(seqs, [3, 7, 7, 3]);
        Ok(())
    })
    .unwrap();
    // What is taken is refused, and nothing of the transaction stays.
    let before = dump(&store);
    let refused: [Change<'_>; 5] = [
        &mut |rows, _| rows.add_user(&user("bob"), 0).map(drop),
        &mut |rows, bob| rows.put_interaction(bob, &row(7, "z")),
        &mut |rows, bob| rows.put_interaction(bob, &row(8, "x")),
        &mut |rows, bob| rows.put_period(bob, 5, &[member(3, false)]),
        &mut |rows, bob| {
            let record = "{}".to_owned().into();
            let row = LearnedRow { number: 1, parent: 0, period: 9, sum: 3, record };
            rows.put_generation(bob, &row)
        },
    ];
    for work in refused {
        let written = write(&mut |rows| {
            let bob = rows.user(&user("bob"))?.unwrap();
            rows.put_answer(bob.key, "{}".into())?;
            work(rows, bob.key)
        });
        assert!(written.is_err());
        assert_eq!(dump(&store), before);
    }
}

pub fn a_lease_is_swapped_by_its_token(subject: &dyn Subject) {
    let store = subject.create(&settings());
    store.ingest(history("ada", 1)).unwrap();
    let holder = Holder { name: "x".into(), place: "y".into(), process: 7, started: i64::MIN };
    let lease = |token| LeaseRow { token, holder: holder.clone(), expires: i64::MAX, sum: token };
    let written = store.backend().write(Durability::Process, &mut |rows| {
        let key = rows.user(&user("ada"))?.unwrap().key;
        assert!(!rows.swap_lease(key, Some(1), &lease(2))?);
        assert_eq!(rows.lease(key)?, None);
        assert!(rows.swap_lease(key, None, &lease(i64::MIN))?);
        assert!(!rows.swap_lease(key, None, &lease(2))?);
        assert_eq!(rows.lease(key)?, Some(lease(i64::MIN)));
        assert!(rows.swap_lease(key, Some(i64::MIN), &lease(i64::MAX))?);
        assert_eq!(rows.lease(key)?, Some(lease(i64::MAX)));
        Ok(())
    });
    written.unwrap();
}
