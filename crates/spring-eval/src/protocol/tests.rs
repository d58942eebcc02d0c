//! The evaluation learns what `adapt` learns.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use spring_core::{
    Config, Learner, MemoryStore, Periods, Settings, Tokenize, UserModel, adapt, ingest_jsonl,
    spring_drift::Selection,
    spring_memory::{BufferItem, BufferPolicyConfig, UserId},
};
use spring_data::Stream;
use spring_model::{AnyModel, Device, ModelFiles, TrainConfig};

use super::{Memo, Protocol, UserInput, arena::Arena, domain::score_base, trajectory::Leader};
use crate::{
    Split, SplitConfig, evaluate_state,
    loss::{encode, fused_loss, losses},
    split, stored,
};

const PERIODS: u32 = 3;

fn lines(user: &UserId) -> String {
    let subjects = ["the sea", "a train", "my dog", "old films", "soup"];
    let line = |i: usize| {
        let text = serde_json::json!({
            "user": user, "id": i.to_string(), "time": format!("2024-03-{:02}T00:00:00Z", i + 1),
            "prompt": format!("About {}", subjects[i % 5]),
            "response": format!("{} is odd on day {i}.", subjects[(i * 3) % 5]),
        });
        format!("{text}\n")
    };
    (0..30).map(line).collect()
}

/// The numbers of the texts in the buffer after each period, as `adapt` leaves them in a state, and
/// the periods that it cut.
fn adapted(model: &AnyModel, config: &Config, user: &UserId) -> (Vec<Vec<u64>>, Vec<Split>) {
    let fingerprint = model.info().fingerprint.clone();
    let settings = Settings::new("tiny", fingerprint, config.clone());
    let store = MemoryStore::in_memory(&settings).unwrap();
    ingest_jsonl(&store, lines(user).as_bytes(), "texts").unwrap();
    let mut splits = Vec::new();
    for planned in store.plan_periods(user, PERIODS, 0.0).unwrap() {
        let train = planned.members.into_iter().map(|member| member.stored).collect();
        splits.push(Split { period: planned.number, train, test: vec![], dropped: 0 });
    }
    adapt(model, &store, user, Periods { count: PERIODS, hold_out: 0.0 }, &mut ()).unwrap();
    let buffer = |number| store.generation(user, Some(number)).unwrap().unwrap().buffer;
    ((1..=PERIODS).map(|number| keys(&buffer(number))).collect(), splits)
}

fn keys(buffer: &[BufferItem]) -> Vec<u64> {
    let mut keys: Vec<u64> = buffer.iter().map(|item| item.key).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn a_reservoir_keeps_in_the_evaluation_what_it_keeps_in_a_state() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama");
    let model = AnyModel::load(&ModelFiles::from_dir(folder).unwrap(), Device::Cpu).unwrap();
    let mut seen = Vec::new();
    for (user, seed) in [("ada", 0), ("ada", 7), ("bob", 7)] {
        let user = UserId::new(user).unwrap();
        let training = TrainConfig::default().with_learning_rate(1e-3).with_epochs(1);
        let mut config = Config::default().with_seed(seed).with_training(training);
        config.buffer.policy = BufferPolicyConfig::Reservoir { seed };
        config.buffer.capacity = 6;
        // What is selected does not depend on scores, which depend on the order of training.
        config.drift.selection = Selection::All {};
        let (expected, splits) = adapted(&model, &config, &user);

        let protocol = Protocol::new(config, vec![]);
        let memo = Memo::default();
        let input = UserInput::new(&user, &splits);
        let arena = Arena::new(&model, &memo, &protocol, input, &splits).unwrap();
        let mut leader = Leader::new(&protocol, input).unwrap();
        let mut kept = Vec::new();
        for place in 0..splits.len() {
            leader.learn(&arena, place, &mut ()).unwrap();
            kept.push(keys(&leader.reference().knowledge.memories.buffer));
        }
        assert_eq!(kept, expected, "{user}, seed {seed}");
        seen.push(kept);
    }
    // The reservoir does choose, and by user and seed.
    assert!(seen.iter().all(|kept| kept[2].len() == 6 && kept[2] != [25, 26, 27, 28, 29, 30]));
    assert!(seen[0] != seen[1] && seen[1] != seen[2] && seen[0] != seen[2], "{seen:?}");
}

#[test]
fn a_states_losses_are_those_of_what_was_learned() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama");
    let model = AnyModel::load(&ModelFiles::from_dir(folder).unwrap(), Device::Cpu).unwrap();
    let user = UserId::new("ada").unwrap();
    let training = TrainConfig::default().with_learning_rate(1e-2);
    let config = Config::default().with_training(training);
    let fingerprint = model.info().fingerprint.clone();
    let settings = Settings::new("tiny", fingerprint, config.clone());
    let store = MemoryStore::in_memory(&settings).unwrap();
    ingest_jsonl(&store, lines(&user).as_bytes(), "texts").unwrap();
    let texts = lines(&user).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let cut = SplitConfig { periods: 2, hold_out: 0.2 };
    let mut splits = split(&stored(&Stream::new(user.clone(), texts)), cut);
    score_base(&model, &config, &mut splits).unwrap();
    adapt(&model, &store, &user, Periods { count: 2, hold_out: 0.2 }, &mut ()).unwrap();
    let evaluated = evaluate_state(&model, &store, &user).unwrap();
    assert_eq!(evaluated.len(), 2);

    let person = UserModel::fresh(&model, config.clone(), None).unwrap();
    let (mut learner, mut first) = (Learner::new(user, person, vec![]), None);
    for (split, period) in splits.iter().zip(evaluated) {
        learner.learn(split.learnable(), &mut ()).unwrap();
        let adapter = learner.model().adapter();
        first = first.or(adapter.cloned());
        let encoded = encode(&model, &config, &split.test).unwrap();
        let scored = losses(&model, &[None, first.as_ref(), adapter], &encoded).unwrap();
        let pairs: Vec<_> = split.test.iter().zip(&encoded).collect();
        let fused = fused_loss(learner.model(), &pairs).unwrap();
        let found = [period.base, period.static_adapter, period.adapter, period.spring.fused];
        for (found, expected) in found.into_iter().zip(scored.into_iter().chain([fused.fused])) {
            assert_eq!((found.tokens, found.texts), (expected.tokens, expected.texts));
            assert!((found.nats - expected.nats).abs() < 1e-3, "{found:?} {expected:?}");
        }
    }
    // The second period did teach something.
    assert_ne!(first.as_ref(), learner.model().adapter());
}
