//! The residual buffer under every policy.

use std::collections::BTreeMap;

use proptest::prelude::*;
use spring_memory::{
    BufferError, BufferItem, BufferPolicy, BufferPolicyConfig, BufferSnapshot, Diversity,
    Embeddings, Evicted, EvictionReason, NoEmbeddings, Residual, ResidualBuffer, Retained,
    Standing,
};

fn item(key: u64, period: u32, score: f64) -> BufferItem {
    BufferItem::new(key, period, 0.0, score, score)
}

fn keys<'i>(items: impl IntoIterator<Item = &'i BufferItem>) -> Vec<u64> {
    items.into_iter().map(|item| item.key).collect()
}

fn retained(policy: BufferPolicyConfig, items: &[BufferItem], capacity: usize) -> Retained {
    policy
        .init()
        .expect("a sound policy")
        .retain(items.to_vec(), capacity, &NoEmbeddings)
        .expect("finite scores")
}

#[test]
fn residual_keeps_the_highest_and_the_newer_of_equals() {
    let items = [item(1, 1, -2.0), item(2, 1, -1.0), item(3, 1, -2.0), item(4, 2, -3.0)];
    let all = retained(BufferPolicyConfig::Residual, &items, 4);
    assert_eq!((keys(&all.kept), all.evicted.len()), (vec![1, 2, 3, 4], 0));
    let two = retained(BufferPolicyConfig::Residual, &items, 2);
    assert_eq!(keys(&two.kept), [2, 3]);
    let reason = EvictionReason::Outranked { rank: -2.0, lowest_kept: Some(-2.0) };
    assert_eq!(two.evicted[0], Evicted::new(items[0], reason));
    assert_eq!(two.evicted[1].reason.to_string(), "rank -3.0000, the lowest kept has -2.0000");
    // -0 and 0 are one score.
    let zeros = retained(BufferPolicyConfig::Residual, &[item(1, 1, 0.0), item(2, 1, -0.0)], 1);
    assert_eq!(keys(&zeros.kept), [2]);
    assert_eq!(ResidualBuffer::default().capacity(), 200);
}

#[test]
fn recency_keeps_the_newest() {
    let items = [item(5, 1, 9.0), item(9, 1, -9.0), item(7, 1, 0.0)];
    assert_eq!(keys(&retained(BufferPolicyConfig::Recency, &items, 2).kept), [7, 9]);
    let huge = [item(u64::MAX - 1, 1, 1.0), item(u64::MAX, 1, 0.0)];
    assert_eq!(keys(&retained(BufferPolicyConfig::Recency, &huge, 1).kept), [u64::MAX]);
}

#[test]
fn balanced_periods_share_the_places() {
    let mut items: Vec<BufferItem> = (0..10).map(|n| item(n, 1, n as f64)).collect();
    items.extend((10..13).map(|n| item(n, 2, -(n as f64))));
    items.push(item(13, 3, -99.0));
    let kept = keys(&retained(BufferPolicyConfig::BalancedPeriods, &items, 6).kept);
    // One place for period 3, which has no more; of the other five the newer period gets three.
    assert_eq!(kept, [8, 9, 10, 11, 12, 13]);
    let none_left = retained(BufferPolicyConfig::BalancedPeriods, &items, 1);
    assert_eq!(keys(&none_left.kept), [13]);
    assert_eq!(
        none_left.evicted[0].reason,
        EvictionReason::Outranked { rank: 0.0, lowest_kept: None },
        "period 1 lost all"
    );
}

#[test]
fn reservoir_samples_evenly_and_ignores_scores() {
    let mut counts = [0u32; 20];
    for seed in 0..2000 {
        let items: Vec<BufferItem> = (0..20).map(|n| item(n, 1, n as f64)).collect();
        for key in keys(&retained(BufferPolicyConfig::Reservoir { seed }, &items, 5).kept) {
            counts[key as usize] += 1;
        }
    }
    // Each key is in a quarter of the samples: 500 of 2000, standard deviation 19.
    assert!(counts.iter().all(|&count| (400..600).contains(&count)), "{counts:?}");
}

#[test]
fn diversity_drops_the_near_copy() {
    let vectors: BTreeMap<u64, Vec<f32>> =
        [(1, vec![1.0, 0.0]), (2, vec![0.99, 0.01]), (3, vec![0.0, 2.0]), (4, vec![-1.0, 0.1])]
            .into();
    let items = [item(1, 1, 0.0), item(2, 1, -1.0), item(3, 1, -2.0), item(4, 1, -3.0)];
    let retained = Diversity.retain(items.to_vec(), 3, &vectors).unwrap();
    assert_eq!(keys(&retained.kept), [1, 3, 4]);
    assert!(matches!(
        retained.evicted[0].reason,
        EvictionReason::Redundant { nearest: 1, distance } if distance < 0.001
    ));
    let missing = Diversity.retain(items.to_vec(), 3, &NoEmbeddings);
    assert_eq!(missing, Err(BufferError::NoEmbedding { key: 1 }));
    let short = BTreeMap::from([(1, vec![1.0]), (2, vec![1.0, 2.0])]);
    let error = Diversity.retain(items[..2].to_vec(), 1, &short).unwrap_err();
    assert_eq!(error, BufferError::Dimensions { key: 2, found: 2, expected: 1 });
    let zero = BTreeMap::from([(1, vec![0.0]), (2, vec![1.0])]);
    let error = Diversity.retain(items[..2].to_vec(), 1, &zero).unwrap_err();
    assert_eq!(error, BufferError::BadEmbedding { key: 1 });
}

#[test]
fn bad_input_names_the_key_and_changes_nothing() {
    let mut buffer = ResidualBuffer::new(3);
    buffer.update(vec![item(1, 1, 0.0)], &NoEmbeddings).unwrap();
    let before = buffer.snapshot();
    let error =
        buffer.update(vec![item(2, 1, 0.0), item(3, 1, f64::NAN)], &NoEmbeddings).unwrap_err();
    assert!(error.to_string().starts_with("buffer item 3: quality is NaN"), "{error}");
    let infinite = BufferItem::new(4, 1, f64::NEG_INFINITY, 0.0, 0.0);
    assert!(buffer.update(vec![infinite], &NoEmbeddings).is_err());
    let twice = buffer.update(vec![item(5, 1, 0.0), item(5, 1, 1.0)], &NoEmbeddings);
    assert_eq!(twice, Err(BufferError::DuplicateKey { key: 5 }));
    assert_eq!(buffer.snapshot(), before);
}

#[test]
fn restoring_refuses_what_no_buffer_wrote() {
    let snapshot = BufferSnapshot::new("residual", 1, vec![item(1, 1, 0.0)]);
    let restore = |snapshot: &BufferSnapshot, policy: BufferPolicyConfig| {
        ResidualBuffer::restore(snapshot.clone(), policy.init().unwrap())
            .map(|buffer| buffer.snapshot())
    };
    assert_eq!(restore(&snapshot, BufferPolicyConfig::Residual).as_ref(), Ok(&snapshot));
    assert!(matches!(
        restore(&snapshot, BufferPolicyConfig::Recency),
        Err(BufferError::OtherPolicy { .. })
    ));
    let over = BufferSnapshot::new("residual", 1, vec![item(1, 1, 0.0), item(2, 1, 0.0)]);
    assert!(matches!(
        restore(&over, BufferPolicyConfig::Residual),
        Err(BufferError::OverCapacity { .. })
    ));
}

#[test]
fn policies_are_chosen_by_name() {
    use BufferPolicyConfig::{BalancedPeriods, Diversity, Recency, Reservoir, Residual};
    let read = |json: &str| serde_json::from_str::<BufferPolicyConfig>(json);
    for (json, policy, name) in [
        (r#""residual""#, Residual, "residual"),
        (r#"{"kind":"residual"}"#, Residual, "residual"),
        (r#""reservoir""#, Reservoir { seed: 0 }, "reservoir"),
        (r#"{"kind":"reservoir"}"#, Reservoir { seed: 0 }, "reservoir"),
        (
            r#"{"kind":"reservoir","seed":18446744073709551615}"#,
            Reservoir { seed: u64::MAX },
            "reservoir",
        ),
        // As earlier versions wrote it.
        (r#"{"reservoir":{"seed":3}}"#, Reservoir { seed: 3 }, "reservoir"),
        (r#"{"reservoir":{}}"#, Reservoir { seed: 0 }, "reservoir"),
        (r#""recency""#, Recency, "recency"),
        (r#"{"kind":"balanced_periods"}"#, BalancedPeriods, "balanced_periods"),
        (r#""diversity""#, Diversity, "diversity"),
    ] {
        assert_eq!(read(json).unwrap(), policy, "{json}");
        assert_eq!(policy.init().unwrap().name(), name);
        assert_eq!(read(&serde_json::to_string(&policy).unwrap()).unwrap(), policy);
    }
    let written = serde_json::to_string(&Reservoir { seed: 3 }).unwrap();
    assert_eq!(written, r#"{"kind":"reservoir","seed":3}"#);
    for (bad, told) in [
        (r#""best""#, "best"),
        (r#"{"kind":"best"}"#, "best"),
        (r#"{"kind":"residual","seed":3}"#, "seed"),
        (r#"{"kind":"reservoir","sead":3}"#, "sead"),
        (r#"{"reservoir":{"sead":3}}"#, "sead"),
        (r#"{"seed":3}"#, "kind"),
        ("7", "7"),
    ] {
        let error = read(bad).unwrap_err().to_string();
        assert!(error.contains(told), "{bad}: {error}");
    }
}

/// A policy from outside that forgets to implement `retain`.
#[derive(Debug)]
struct Incomplete;

impl BufferPolicy for Incomplete {
    fn name(&self) -> &str {
        "incomplete"
    }
    fn standing(&self, item: &BufferItem) -> Option<Standing> {
        (item.key > 100).then_some(Standing::new(f64::NAN))
    }
}

#[test]
fn foreign_policies_cannot_break_the_buffer() {
    let mut buffer = ResidualBuffer::with_policy(2, Box::new(Incomplete));
    let no_retain = buffer.update(vec![item(1, 1, 0.0)], &NoEmbeddings);
    assert_eq!(no_retain, Err(BufferError::NoRetain { policy: "incomplete".into() }));
    let rank = buffer.update(vec![item(101, 1, 0.0)], &NoEmbeddings);
    assert!(matches!(rank, Err(BufferError::NotFinite { key: 101, name: "rank", .. })));
    assert!(buffer.is_empty());
}

fn policy() -> impl Strategy<Value = BufferPolicyConfig> {
    prop_oneof![
        Just(BufferPolicyConfig::Residual),
        any::<u64>().prop_map(|seed| BufferPolicyConfig::Reservoir { seed }),
        Just(BufferPolicyConfig::Recency),
        Just(BufferPolicyConfig::BalancedPeriods),
        Just(BufferPolicyConfig::Diversity),
    ]
}

/// Few distinct scores, so that there are ties.
fn items() -> impl Strategy<Value = Vec<BufferItem>> {
    prop::collection::btree_map(0..60u64, (1..5u32, -3..3i32), 0..30).prop_map(|items| {
        items
            .into_iter()
            .map(|(key, (period, score))| item(key, period, f64::from(score)))
            .collect()
    })
}

struct Circle(BTreeMap<u64, Vec<f32>>);

impl Circle {
    fn new() -> Self {
        Self((0..60).map(|key| (key, vec![(key as f32).cos(), (key as f32).sin()])).collect())
    }
}

impl Embeddings for Circle {
    fn embedding(&self, key: u64) -> Option<&[f32]> {
        self.0.embedding(key)
    }
}

proptest! {
    /// Every policy keeps min(n, capacity), loses nothing unnamed, and does not depend on the order
    /// of the candidates.
    #[test]
    fn retaining_is_exact_and_order_free(
        policy in policy(),
        items in items().prop_shuffle(),
        capacity in 0..25usize,
    ) {
        let policy = policy.init().unwrap();
        let retained = policy.retain(items.clone(), capacity, &Circle::new()).unwrap();
        prop_assert_eq!(retained.kept.len(), items.len().min(capacity));
        let mut all: Vec<BufferItem> = retained.kept.clone();
        all.extend(retained.evicted.iter().map(|evicted| evicted.item));
        all.sort_by_key(|item| item.key);
        let mut sorted = items;
        sorted.sort_by_key(|item| item.key);
        prop_assert_eq!(&all, &sorted);
        prop_assert_eq!(policy.retain(sorted, capacity, &Circle::new()).unwrap(), retained);
    }

    /// Under a policy with standings, items that arrive one by one leave the same buffer as all at
    /// once.
    #[test]
    fn streaming_equals_batch(
        policy in policy(),
        items in items().prop_shuffle(),
        capacity in 0..25usize,
    ) {
        prop_assume!(policy != BufferPolicyConfig::Diversity);
        let mut buffer = ResidualBuffer::with_policy(capacity, policy.init().unwrap());
        for item in &items {
            buffer.update(vec![*item], &NoEmbeddings).unwrap();
        }
        let batch = policy.init().unwrap().retain(items, capacity, &NoEmbeddings).unwrap();
        prop_assert_eq!(keys(buffer.items()), keys(&batch.kept));
    }

    /// Inserting, re-scoring and removing, in any order, equals asking the policy about what there
    /// is at each moment.
    #[test]
    fn updates_equal_retain(
        policy in policy(),
        capacity in 0..12usize,
        updates in prop::collection::vec((items(), prop::option::of(0..60u64)), 1..6),
    ) {
        let mut buffer = ResidualBuffer::with_policy(capacity, policy.init().unwrap());
        let mut model: BTreeMap<u64, BufferItem> = BTreeMap::new();
        for (items, removed) in updates {
            model.extend(items.iter().map(|item| (item.key, *item)));
            let expected = policy
                .init()
                .unwrap()
                .retain(model.values().copied().collect(), capacity, &Circle::new())
                .unwrap();
            let evicted = buffer.update(items, &Circle::new()).unwrap();
            prop_assert_eq!(&evicted, &expected.evicted);
            model = expected.kept.iter().map(|item| (item.key, *item)).collect();
            if let Some(key) = removed {
                prop_assert_eq!(buffer.remove(key), model.remove(&key));
            }
            prop_assert_eq!(
                buffer.items().copied().collect::<Vec<_>>(),
                model.values().copied().collect::<Vec<_>>()
            );
        }
    }

    /// A stored buffer comes back the same, to the last bit, and goes on the same.
    #[test]
    fn snapshots_round_trip(
        policy in policy(),
        scores in prop::collection::vec(-1e3..1e3f64, 0..20),
        more in items(),
    ) {
        let mut buffer = ResidualBuffer::with_policy(8, policy.init().unwrap());
        let items = scores.iter().enumerate().map(|(n, &score)| item(n as u64, 1, score)).collect();
        buffer.update(items, &Circle::new()).unwrap();
        let json = serde_json::to_string(&buffer.snapshot()).unwrap();
        let mut restored =
            ResidualBuffer::restore(serde_json::from_str(&json).unwrap(), policy.init().unwrap())
                .unwrap();
        prop_assert_eq!(restored.snapshot(), buffer.snapshot());
        prop_assert_eq!(
            restored.update(more.clone(), &Circle::new()),
            buffer.update(more, &Circle::new())
        );
        prop_assert_eq!(restored.snapshot(), buffer.snapshot());
    }

    /// The paper's policy is the plain sort.
    #[test]
    fn residual_is_the_top_by_score(items in items(), capacity in 0..25usize) {
        let kept = Residual.retain(items.clone(), capacity, &NoEmbeddings).unwrap().kept;
        let mut sorted = items;
        sorted.sort_by(|a, b| b.score.total_cmp(&a.score).then(b.key.cmp(&a.key)));
        sorted.truncate(capacity);
        sorted.sort_by_key(|item| item.key);
        prop_assert_eq!(kept, sorted);
    }
}
