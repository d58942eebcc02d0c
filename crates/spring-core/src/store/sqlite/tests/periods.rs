use proptest::prelude::*;

use super::*;

/// Per period: the ids learned, the ids held out.
fn cut(n: usize, periods: u32, hold_out: f64) -> Vec<(Vec<u64>, Vec<u64>)> {
    let mut store = in_memory();
    let ada = user("ada");
    ingest(&mut store, history("ada", n)).unwrap();
    let numbers = store.cut_periods(&ada, periods, hold_out).unwrap();
    assert_eq!(numbers, (1..).take(numbers.len()).collect::<Vec<u32>>());
    assert_eq!(store.unlearned_periods(&ada).unwrap(), numbers);
    let split = |number| {
        let members = store.members(&ada, number).unwrap();
        let (held_out, learned): (Vec<_>, Vec<_>) = members.into_iter().partition(|member| member.held_out);
        let seqs = |members: Vec<crate::store::Member>| {
            members.into_iter().map(|member| member.stored.seq).collect()
        };
        (seqs(learned), seqs(held_out))
    };
    numbers.into_iter().map(split).collect()
}

fn counts(n: usize, periods: u32, hold_out: f64) -> Vec<(usize, usize)> {
    cut(n, periods, hold_out).iter().map(|(learned, held_out)| (learned.len(), held_out.len())).collect()
}

#[test]
fn the_first_periods_get_the_remainder() {
    assert_eq!(counts(11, 4, 0.0), [(3, 0), (3, 0), (3, 0), (2, 0)]);
    assert_eq!(counts(8, 4, 0.0), [(2, 0); 4]);
    assert_eq!(counts(3, 5, 0.0), [(1, 0); 3]);
    assert_eq!(counts(1, 1, 0.0), [(1, 0)]);
    assert_eq!(counts(4, 0, 0.0), [(4, 0)]);
    assert_eq!(counts(2, u32::MAX, 0.0), [(1, 0); 2]);
}

#[test]
fn the_latest_are_held_out_rounded_down() {
    assert_eq!(cut(5, 2, 0.5), [(vec![1, 2], vec![3]), (vec![4], vec![5])]);
    assert_eq!(counts(19, 2, 0.1), [(9, 1), (9, 0)]);
    assert_eq!(counts(30, 1, 0.1), [(27, 3)]);
    // 0.29 · 100 is just under 29 in binary.
    assert_eq!(counts(100, 1, 0.29), [(71, 29)]);
    assert_eq!(counts(3, 3, 0.9), [(1, 0); 3]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_cut_is_a_partition_in_order(n in 1_usize..60, periods in 1_u32..70, hold_out in 0.0..1.0) {
        let parts = cut(n, periods, hold_out);
        prop_assert_eq!(parts.len(), n.min(periods as usize));
        // Complete, disjoint, in order, the held-out ones last: all at once.
        let all: Vec<u64> = parts.iter().flat_map(|(learned, held_out)| [learned, held_out]).flatten().copied().collect();
        prop_assert_eq!(all, (1..=n as u64).collect::<Vec<_>>());
        let sizes: Vec<_> = parts.iter().map(|(learned, held_out)| learned.len() + held_out.len()).collect();
        prop_assert!(sizes.is_sorted_by(|a, b| a >= b) && sizes[0] - sizes[sizes.len() - 1] <= 1);
        for (size, (_, held_out)) in sizes.iter().zip(&parts) {
            prop_assert_eq!(held_out.len(), (hold_out * *size as f64) as usize);
        }
    }
}

#[test]
fn a_second_cut_takes_what_came_since() {
    let mut store = in_memory();
    let ada = user("ada");
    ingest(&mut store, history("ada", 2)).unwrap();
    assert_eq!(store.cut_periods(&ada, 2, 0.0).unwrap(), [1, 2]);
    assert_eq!(store.cut_periods(&ada, 2, 0.0).unwrap(), [] as [u32; 0]);
    assert!(store.pending(&ada).unwrap().is_empty());
    // Also what is older than the periods that there are.
    let late = vec![
        interaction("ada", "x", "2026-01-01T00:00:00Z"),
        interaction("ada", "y", "1969-01-01T00:00:00Z"),
    ];
    ingest(&mut store, late).unwrap();
    assert_eq!(store.cut_periods(&ada, 1, 0.5).unwrap(), [3]);
    let members = store.members(&ada, 3).unwrap();
    let members: Vec<_> = members.iter().map(|m| (m.stored.interaction.id.as_str(), m.held_out)).collect();
    assert_eq!(members, [("y", false), ("x", true)]);
}

#[test]
fn a_part_out_of_range_is_refused() {
    let mut store = in_memory();
    ingest(&mut store, history("ada", 2)).unwrap();
    for part in [1.0, -0.1, f64::NAN, f64::INFINITY] {
        let error = store.cut_periods(&user("ada"), 1, part).unwrap_err();
        assert!(error.to_string().starts_with(&format!("hold-out: {part} is not")), "{error}");
    }
    assert_eq!(store.pending(&user("ada")).unwrap().len(), 2);
}

#[test]
fn a_period_that_is_not_there_is_named() {
    let mut store = in_memory();
    with_periods(&mut store, &["ada"], 2);
    with_periods(&mut store, &["bob"], 3);
    let error = store.members(&user("ada"), 3).unwrap_err();
    assert_eq!(error.to_string(), "user ada has no period 3");
}
