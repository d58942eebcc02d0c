//! What is not as it was written is told, whatever keeps the rows.

use super::{Subject, faults::prepare, samples::*};
use crate::{
    Error, Result, Store,
    backend::{
        ConsentRow, Durability, InteractionRow, KeyRow, LearnedRow, LeaseRow, MemberRow,
        MemoriesRow, Outcome, RowsMut, SettingsRow, Summed, Text, UserRow,
    },
    store::Checked,
};

/// Changes a row of the user of a key behind the rules' back.
type Damage = fn(&mut dyn RowsMut, i64) -> Outcome<()>;

/// Reads what was damaged.
type Use = fn(&Store) -> Result<()>;

pub fn a_row_that_is_not_what_was_written_is_told(subject: &dyn Subject) {
    let cases: [(&str, Damage, Use); 15] = [
        (
            "table users, user ada: it is not what was written",
            |rows, _| {
                let row = rows.user(&user("ada"))?.unwrap();
                rows.put_user(&UserRow { pending: row.pending + 1, ..row })
            },
            |store| store.user(&user("ada")).map(drop),
        ),
        (
            "table interactions, user ada: text 3 (id \"3\"): it is not",
            |rows, key| {
                let row = rows.interaction(key, Text::Seq(3))?.unwrap();
                rows.delete_interaction(key, 3)?;
                let response = row.response.to_uppercase();
                rows.put_interaction(key, &InteractionRow { response, ..row })?;
                Checked(rows).put_period(key, 3, &[MemberRow { seq: 3, held_out: false, sum: 0 }])
            },
            |store| store.members(&user("ada"), 3).map(drop),
        ),
        (
            "table interactions, user ada: text 1 (id \"one\"): it is not",
            |rows, key| {
                let row = rows.interaction(key, Text::Seq(1))?.unwrap();
                let sum = row.sums.place.unwrap_or_default();
                rows.delete_interaction(key, 1)?;
                rows.put_interaction(key, &InteractionRow { id: "one".into(), ..row })?;
                rows.put_period(key, 1, &[MemberRow { seq: 1, held_out: false, sum }])
            },
            |store| store.history(&user("ada")).map(drop),
        ),
        (
            "table interactions, user ada: the log-likelihood of text 1",
            |rows, key| rows.set_base(key, 1, Summed { value: -1.0, sum: 7 }).map(drop),
            |store| store.interactions(&user("ada"), &[1]).map(drop),
        ),
        (
            "table members, user ada: the place of text 2",
            |rows, key| {
                let row = rows.interaction(key, Text::Seq(2))?.unwrap();
                let sum = row.sums.place.unwrap_or_default();
                rows.delete_interaction(key, 2)?;
                rows.put_interaction(key, &row)?;
                rows.put_period(key, 2, &[MemberRow { seq: 2, held_out: true, sum }])
            },
            |store| store.place(&user("ada"), 2).map(drop),
        ),
        (
            "table generations, user ada: record 1: it is not",
            |rows, key| {
                let record = rows.record(key, 1)?.unwrap();
                let value = record.value.replace("\"tokens\":17", "\"tokens\":18");
                let record = Summed { value, ..record };
                let sum = rows.generations(key)?[0].sum;
                rows.put_generation(
                    key,
                    &LearnedRow { number: 1, parent: 0, period: 1, sum, record },
                )
            },
            |store| store.record(&user("ada"), 1).map(drop),
        ),
        (
            "table generations, user ada: generation 2: it is not",
            |rows, key| {
                let record = rows.record(key, 1)?.unwrap();
                let row = LearnedRow { number: 2, parent: 0, period: 2, sum: 5, record };
                rows.put_generation(key, &row)
            },
            |store| store.generations(&user("ada")).map(drop),
        ),
        (
            "table memories, user ada: generation 1: it is not",
            |rows, key| {
                let mut row = rows.memories(key, 1)?.unwrap();
                let last = row.adapter.len() - 1;
                row.adapter[last] ^= 1;
                rows.put_memories(key, 1, Some(&row))
            },
            |store| store.recall(&user("ada"), None).map(drop),
        ),
        (
            "table memories, user ada: generation 1: it is not",
            |rows, key| {
                let row = rows.memories(key, 1)?.unwrap();
                let calibration = row.calibration.replacen('6', "7", 1);
                rows.put_memories(key, 1, Some(&MemoriesRow { calibration, ..row }))
            },
            |store| store.generation(&user("ada"), Some(1)).map(drop),
        ),
        (
            "table answers, user ada: record ",
            |rows, key| {
                let record = serde_json::to_string(&answer("of nobody")).unwrap();
                rows.put_answer(key, Summed { value: &record, sum: 0 })
            },
            |store| store.answers(&user("ada"), 1).map(drop),
        ),
        (
            "table embeddings, user ada: that of text 2",
            |rows, key| {
                let vector = rows.embedding(key, 2, "f00d")?.unwrap();
                let other = 1.0_f32.to_le_bytes();
                rows.put_embedding(key, 2, "f00d", Summed { value: &other, sum: vector.sum })
            },
            |store| store.embeddings(&user("ada"), &[2]).map(drop),
        ),
        (
            "table leases, user ada: it is not",
            |rows, key| {
                let row = rows.lease(key)?.unwrap();
                let ahead = LeaseRow { expires: row.expires + 1, ..row };
                rows.swap_lease(key, Some(ahead.token), &ahead).map(drop)
            },
            |store| store.lease(&user("ada")).map(drop),
        ),
        (
            "table consents, user ada: it is not",
            |rows, key| rows.put_consent(key, &ConsentRow { keep: true, since: 1, sum: 0 }),
            |store| store.consent(&user("ada")).map(drop),
        ),
        (
            "table keys: key \"key-010101010101\": it is not",
            |rows, _| {
                let row = rows.key(&[1; 32])?.unwrap();
                let record = row.record.replace("\"ada\"", "\"bob\"");
                rows.put_key(&KeyRow { record, ..row })
            },
            |store| store.key(&[1; 32]).map(drop),
        ),
        (
            "table settings: it is not",
            |rows, _| {
                let row = rows.settings()?;
                rows.put_settings(&SettingsRow { fingerprint: "beef".into(), ..row })
            },
            |store| store.check(&mut |_| std::ops::ControlFlow::Continue(())),
        ),
    ];
    for (said, damage, use_it) in cases {
        let store = subject.create(&settings());
        prepare(&store);
        let written = store.backend().write(Durability::Power, &mut |rows| {
            let key = rows.user(&user("ada"))?.unwrap().key;
            damage(rows, key)
        });
        written.unwrap();
        let check = |store: &Store| store.check(&mut |_| std::ops::ControlFlow::Continue(()));
        for found in [use_it(&store), check(&store)] {
            let error = found.unwrap_err();
            assert!(matches!(&error, Error::Damaged { .. }), "{said}: {error}");
            assert!(error.to_string().contains(said), "{said}: {error}");
        }
        // Whoever else is there is not kept up, and who is damaged can be forgotten.
        if !said.contains("settings") {
            assert_eq!(store.history(&user("bob")).unwrap().entries.len(), 4);
            store.forget(&user("ada")).unwrap();
            check(&store).unwrap();
        }
    }
    // A damaged lease can be ended, too.
    let store = subject.create(&settings());
    prepare(&store);
    let written = store.backend().write(Durability::Power, &mut |rows| {
        let key = rows.user(&user("ada"))?.unwrap().key;
        let row = rows.lease(key)?.unwrap();
        rows.swap_lease(key, Some(row.token), &LeaseRow { expires: 1, ..row.clone() }).map(drop)
    });
    written.unwrap();
    assert!(store.lease(&user("ada")).is_err());
    assert_eq!(store.unlock(&user("ada")).unwrap(), None);
    store.lease(&user("ada")).unwrap();
}
