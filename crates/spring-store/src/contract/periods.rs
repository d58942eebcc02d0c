//! What is pending is cut into periods.

use super::{Subject, samples::*};
use crate::{PeriodPlan, Periods};

/// Per period: the numbers learned, the numbers held out.
type Parts = Vec<(Vec<u64>, Vec<u64>)>;

fn cut(subject: &dyn Subject, n: usize, periods: u32, hold_out: f64) -> Parts {
    let store = subject.create(&settings());
    let ada = user("ada");
    store.ingest(history("ada", n)).unwrap();
    let numbers = store.cut_periods(&ada, periods, hold_out).unwrap();
    assert_eq!(numbers, (1..).take(numbers.len()).collect::<Vec<u32>>());
    assert_eq!(store.unlearned_periods(&ada).unwrap(), numbers);
    let split = |number| {
        let members = store.members(&ada, number).unwrap();
        let (held_out, learned): (Vec<_>, Vec<_>) =
            members.into_iter().partition(|member| member.held_out);
        let seqs = |members: Vec<crate::Member>| {
            members.into_iter().map(|member| member.stored.seq).collect()
        };
        (seqs(learned), seqs(held_out))
    };
    numbers.into_iter().map(split).collect()
}

fn counts(subject: &dyn Subject, n: usize, periods: u32, hold_out: f64) -> Vec<(usize, usize)> {
    let parts = cut(subject, n, periods, hold_out);
    parts.iter().map(|(learned, held_out)| (learned.len(), held_out.len())).collect()
}

pub fn the_first_periods_get_the_remainder(subject: &dyn Subject) {
    assert_eq!(counts(subject, 11, 4, 0.0), [(3, 0), (3, 0), (3, 0), (2, 0)]);
    assert_eq!(counts(subject, 8, 4, 0.0), [(2, 0); 4]);
    assert_eq!(counts(subject, 3, 5, 0.0), [(1, 0); 3]);
    assert_eq!(counts(subject, 1, 1, 0.0), [(1, 0)]);
    assert_eq!(counts(subject, 4, 0, 0.0), [(4, 0)]);
    assert_eq!(counts(subject, 2, u32::MAX, 0.0), [(1, 0); 2]);
}

pub fn the_latest_are_held_out_rounded_down(subject: &dyn Subject) {
    assert_eq!(cut(subject, 5, 2, 0.5), [(vec![1, 2], vec![3]), (vec![4], vec![5])]);
    assert_eq!(counts(subject, 19, 2, 0.1), [(9, 1), (9, 0)]);
    assert_eq!(counts(subject, 30, 1, 0.1), [(27, 3)]);
    // 0.29 · 100 is just under 29 in binary.
    assert_eq!(counts(subject, 100, 1, 0.29), [(71, 29)]);
    assert_eq!(counts(subject, 3, 3, 0.9), [(1, 0); 3]);
}

pub fn a_cut_is_a_partition_in_order(subject: &dyn Subject) {
    let mut numbers = Numbers(7);
    for _ in 0..40 {
        let n = 1 + numbers.below(59) as usize;
        let periods = 1 + numbers.below(69) as u32;
        let hold_out = numbers.below(1 << 20) as f64 / f64::from(1 << 20);
        let parts = cut(subject, n, periods, hold_out);
        assert_eq!(parts.len(), n.min(periods as usize));
        // Complete, disjoint, in order, the held-out ones last: all at once.
        let all: Vec<u64> = parts
            .iter()
            .flat_map(|(learned, held_out)| [learned, held_out])
            .flatten()
            .copied()
            .collect();
        assert_eq!(all, (1..=n as u64).collect::<Vec<_>>());
        let sizes: Vec<_> =
            parts.iter().map(|(learned, held_out)| learned.len() + held_out.len()).collect();
        assert!(sizes.is_sorted_by(|a, b| a >= b) && sizes[0] - sizes[sizes.len() - 1] <= 1);
        for (size, (_, held_out)) in sizes.iter().zip(&parts) {
            assert_eq!(held_out.len(), (hold_out * *size as f64) as usize);
        }
    }
}

pub fn a_second_cut_takes_what_came_since(subject: &dyn Subject) {
    let store = subject.create(&settings());
    let ada = user("ada");
    store.ingest(history("ada", 2)).unwrap();
    assert_eq!(store.cut_periods(&ada, 2, 0.0).unwrap(), [1, 2]);
    assert_eq!(store.cut_periods(&ada, 2, 0.0).unwrap(), [] as [u32; 0]);
    assert!(store.pending(&ada).unwrap().is_empty());
    // Also what is older than the periods that there are.
    let late = [
        interaction("ada", "x", "2026-01-01T00:00:00Z"),
        interaction("ada", "y", "1969-01-01T00:00:00Z"),
    ];
    store.ingest(late).unwrap();
    assert_eq!(store.cut_periods(&ada, 1, 0.5).unwrap(), [3]);
    let members = store.members(&ada, 3).unwrap();
    let members: Vec<_> =
        members.iter().map(|m| (m.stored.interaction.id.as_str(), m.held_out)).collect();
    assert_eq!(members, [("y", false), ("x", true)]);
}

pub fn a_part_out_of_range_is_refused(subject: &dyn Subject) {
    let store = subject.create(&settings());
    store.ingest(history("ada", 2)).unwrap();
    for part in [1.0, -0.1, f64::NAN, f64::INFINITY] {
        let error = store.cut_periods(&user("ada"), 1, part).unwrap_err();
        assert!(error.to_string().starts_with(&format!("hold_out = {part} is not")), "{error}");
    }
    assert_eq!(store.pending(&user("ada")).unwrap().len(), 2);
}

pub fn a_period_that_is_not_there_is_named(subject: &dyn Subject) {
    let store = subject.create(&settings());
    with_periods(&store, &["ada"], 2);
    with_periods(&store, &["bob"], 3);
    let error = store.members(&user("ada"), 3).unwrap_err();
    assert_eq!(error.to_string(), "user ada has no period 3");
}

pub fn what_there_is_to_learn_is_read_at_once(subject: &dyn Subject) {
    let store = subject.create(&settings());
    with_periods(&store, &["ada", "bob"], 3);
    let (ada, bob) = (user("ada"), user("bob"));
    put(&store, "ada", &commit(1, 0)).unwrap();
    store.ingest(history("ada", 8)).unwrap();
    let plan = PeriodPlan::from(Periods { count: 2, hold_out: 0.5 });
    let backlog = store.backlog(&ada, plan).unwrap().unwrap();
    assert_eq!(backlog.unlearned, [2, 3]);
    assert_eq!(backlog.planned, store.plan_periods(&ada, 2, 0.5).unwrap());
    assert_eq!(backlog.snapshot, store.recall(&ada, None).unwrap());
    assert_eq!(backlog.records, store.period_records(&ada, None).unwrap());
    // As the plan would have it that leaves both to the number of texts.
    let planned = store.backlog(&ada, PeriodPlan::default()).unwrap().unwrap().planned;
    assert_eq!(planned, store.plan_periods(&ada, 1, 0.0).unwrap());
    let refused = store.backlog(&ada, plan.with_hold_out(Some(1.0))).unwrap_err();
    assert!(refused.to_string().starts_with("hold_out = 1 is not allowed"), "{refused}");
    for period in 1..=3 {
        assert!(store.backlog(&bob, plan).unwrap().is_some());
        put(&store, "bob", &commit(period, period - 1)).unwrap();
    }
    assert!(store.backlog(&bob, plan).unwrap().is_none());
}
