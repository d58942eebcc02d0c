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

use super::{
    Memo, Method, Protocol, UserInput,
    arena::Arena,
    domain::score_base,
    leader::{Leader, Lender, Lenders},
    run_other_user_reading, run_user,
};
use crate::{
    Generation, MethodRun, Split, SplitConfig, UserOutcome, evaluate_state,
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

/// A user whose buffer is smaller than what they write, and what some methods make of them.
fn outcome(model: &AnyModel, methods: &[&str]) -> (UserOutcome, Vec<Split>) {
    let user = UserId::new("ada").unwrap();
    let splits = cut(&user);
    let training = TrainConfig::default().with_learning_rate(1e-2).with_epochs(1);
    let mut config = Config::default().with_training(training);
    config.buffer.capacity = 5;
    let methods = methods.iter().map(|name| name.parse().unwrap()).collect();
    let protocol = Protocol::new(config, methods);
    let input = UserInput::new(&user, &splits);
    let outcome = run_user(model, &protocol, input, &Memo::default(), &mut ()).unwrap();
    (outcome, splits)
}

fn cut(user: &UserId) -> Vec<Split> {
    let texts = lines(user).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let cut = SplitConfig { periods: 3, hold_out: 0.2 };
    split(&stored(&Stream::new(user.clone(), texts)), cut)
}

fn tiny() -> AnyModel {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama");
    AnyModel::load(&ModelFiles::from_dir(folder).unwrap(), Device::Cpu).unwrap()
}

#[test]
fn a_lent_bank_is_that_of_the_settings() {
    let model = tiny();
    let user = UserId::new("ada").unwrap();
    let splits = cut(&user);
    let mut config = Config::default();
    config.training.epochs = 1;
    config.buffer.capacity = 5;
    let protocol = Protocol::new(config, vec![]);
    let memo = Memo::default();
    let input = UserInput::new(&user, &splits);
    let arena = Arena::new(&model, &memo, &protocol, input, &splits).unwrap();
    let mut lenders = Lenders::new(&protocol, input).unwrap();
    let mut of = |name: &str| {
        let method: Method = name.parse().unwrap();
        lenders.of(&method, &protocol, input).unwrap()
    };
    let [plain, alike, history, small, like, hard] = [
        "random+retrieval:gate=always",
        // Those of the comparison.
        "random+retrieval:capacity=5",
        "random+retrieval:bank=history,retriever=latest",
        "random+retrieval:capacity=3",
        "everything+retrieval:like=(spring:capacity=3,gate=always)",
        "random+retrieval:like=(spring:alpha=inf,bank=history)",
    ]
    .map(&mut of);
    assert_eq!((plain, alike, history), (Lender::Leader, Lender::Leader, Lender::History));
    // Whatever the gate, it is the same bank, and is learned once.
    assert_eq!((small, like, hard), (Lender::Variant(0), Lender::Variant(0), Lender::Variant(1)));
    for place in 0..splits.len() {
        lenders.learn(&arena, place, &mut ()).unwrap();
        let so_far = &splits[..=place];
        let all: Vec<u64> = so_far.iter().flat_map(|s| &s.train).map(|text| text.seq).collect();
        let texts = |lender: Lender| lenders.texts(lender, so_far);
        assert_eq!((texts(history), texts(hard)), (all.clone(), all.clone()));
        for (lender, capacity) in [(plain, 5), (small, 3)] {
            let bank = texts(lender);
            assert_eq!(bank.len(), capacity.min(all.len()));
            assert!(bank.iter().all(|seq| all.contains(seq)));
        }
    }
}

#[test]
fn with_the_same_adapter_a_lent_bank_reads_as_its_owner_does() {
    let model = tiny();
    // SPRInG that selects all of a period has the adapter of everything.
    let pairs = [
        ("spring:rho=1", "everything+retrieval:like=(spring:rho=1)"),
        ("spring:rho=1,gate=always,bank=history", "everything+retrieval:gate=always,bank=history"),
        (
            "spring:rho=1,gate=always,capacity=3,lambda=0.8",
            "everything+retrieval:like=(spring:rho=1,gate=always,capacity=3,lambda=0.8)",
        ),
        (
            "spring:rho=1,gate=calibrated,lambda=calibrated,bank=history,retriever=latest",
            "everything+retrieval:gate=calibrated,lambda=calibrated,bank=history,retriever=latest",
        ),
    ];
    let others = ["everything+retrieval:gate=always", "random+retrieval:like=(spring:rho=0.5)"];
    let names: Vec<&str> = pairs.iter().flat_map(|(own, lent)| [*own, *lent]).collect();
    let methods = [&names[..], &others, &["spring:rho=0.5"]].concat();
    let (UserOutcome { run, .. }, _) = outcome(&model, &methods);
    let of = |name: &str| &run.methods[name];
    let is_near = |a: &MethodRun, b: &MethodRun| {
        let mut pairs = a.matrix.iter().flatten().zip(b.matrix.iter().flatten());
        pairs.all(|(a, b)| (a.nats - b.nats).abs() < 1e-3)
    };
    for (own, lent) in pairs {
        assert!(is_near(of(own), of(lent)), "{own}: {:?} {:?}", of(own).matrix, of(lent).matrix);
        assert_eq!((&of(own).open, &of(own).selected), (&of(lent).open, &of(lent).selected));
    }
    // The banks differ, and are read.
    let [_, history, small, _] = pairs.map(|(_, lent)| of(lent));
    assert!(history.open.iter().all(|open| *open > 0));
    assert!(!is_near(history, of(others[0])) && !is_near(small, history));
    // As many texts as the variant that is followed.
    assert_eq!(of(others[1]).selected, of("spring:rho=0.5").selected);
}

#[test]
fn another_users_adapter_reads_the_users_own_bank() {
    let model = tiny();
    let methods = ["other_user", "other_user+retrieval", "other_user+retrieval:bank=history"];
    let spring = ["spring", "spring:gate=always", "spring:gate=always,bank=history"];
    let (UserOutcome { run, adapters, banks, .. }, splits) =
        outcome(&model, &[&methods[..], &spring[..]].concat());
    assert_eq!(run.methods.len(), 3, "{:?}", run.methods.keys());
    assert_eq!(banks.keys().collect::<Vec<_>>(), [methods[1], methods[2]]);
    assert!(banks[methods[1]].iter().all(|bank| bank.len() == 5));
    let all = splits.iter().map(|split| split.train.len());
    assert_eq!(banks[methods[2]].last().map(Vec::len), Some(all.sum()));
    let mut config = Config::default().with_changes(&["buffer.capacity=5"]).unwrap();
    config.training.epochs = 1;
    let lent = [adapters];
    let run_with = |name: &str, own: &str| {
        let generation = Generation::new(1, 4);
        let config = own.parse::<Method>().unwrap().configure(&config).unwrap();
        let bank = &banks[name];
        run_other_user_reading(&model, &config, &splits, bank, &lent, generation, &mut ()).unwrap()
    };
    // One's own adapter, lent to oneself, is SPRInG.
    for (name, own) in [(methods[1], spring[1]), (methods[2], spring[2])] {
        let (other, own) = (run_with(name, own), &run.methods[own]);
        for (other, own) in
            [(&other.matrix, &own.matrix), (&other.adapter_matrix, &own.adapter_matrix)]
        {
            for (other, own) in other.iter().flatten().zip(own.iter().flatten()) {
                assert!((other.nats - own.nats).abs() < 1e-3, "{name}: {other:?} {own:?}");
            }
        }
        assert_eq!((other.open.clone(), other.generated.len()), (own.open.clone(), 3));
        assert_eq!(other.tokens, [0, 0, 0]);
    }
    let error = run_other_user_reading(
        &model,
        &config,
        &splits,
        &[vec![9999]],
        &lent,
        Generation::default(),
        &mut (),
    );
    assert!(error.unwrap_err().to_string().contains("the bank of period 1"));
}
