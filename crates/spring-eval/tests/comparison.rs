//! The comparison on a tiny real model, and that it measures what the state would have learned.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use spring_core::{
    Config, MemoryStore, Periods, Settings, Tokenize, adapt, ingest_jsonl,
    spring_memory::{Interaction, UserId},
};
use spring_data::Stream;
use spring_eval::{Method, Plan, SplitConfig, compare, comparison_svg, evaluate_state};
use spring_model::{AnyModel, Device, ModelFiles, TrainConfig};

fn model() -> AnyModel {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama");
    AnyModel::load(&ModelFiles::from_dir(folder).unwrap(), Device::Cpu).unwrap()
}

fn texts(user: &str, count: usize) -> Vec<Interaction> {
    let things = ["ferns", "boats", "rust", "tea", "snow", "maps", "owls"];
    (0..count)
        .map(|i| {
            serde_json::from_value(serde_json::json!({
                "user": user, "id": i.to_string(), "time": format!("2024-02-{:02}T00:00:00Z", i + 1),
                "prompt": format!("On {}", things[i % 7]),
                "response": format!("{user} wrote {i} lines about {} and {}.", things[(i * 3) % 7], things[(i * 5) % 7])
            }))
            .unwrap()
        })
        .collect()
}

fn stream(user: &str) -> Stream {
    Stream { user: UserId::new(user).unwrap(), texts: texts(user, 20) }
}

#[test]
fn every_method_is_measured_on_the_same_texts_and_the_state_agrees() {
    let model = model();
    let config = Config {
        training: TrainConfig { learning_rate: 1e-2, ..TrainConfig::default() },
        ..Config::default()
    };
    let split = SplitConfig { periods: 2, hold_out: 0.2 };
    let plan = Plan { config: config.clone(), split, methods: Method::ALL.to_vec() };
    let comparison =
        compare(&model, &plan, &[stream("ada"), stream("bob")], &[stream("cy")], &mut ()).unwrap();
    assert_eq!((comparison.domain_users, comparison.domain_texts), (1, 8));
    for user in &comparison.users {
        assert_eq!(user.periods.len(), 2);
        for period in &user.periods {
            assert_eq!((period.train, period.test, period.dropped), (8, 2, 0));
            assert_eq!(period.loss.keys().copied().collect::<Vec<_>>(), Method::ALL);
            let tokens = period.loss[&Method::Base].tokens;
            assert!(period.loss.values().all(|loss| (loss.tokens, loss.texts) == (tokens, 2)));
        }
        let nats = |t: usize, method| user.periods[t].loss[&method].nats;
        for method in [Method::Everything, Method::Random, Method::SpringAdapter] {
            assert_eq!(
                nats(0, method),
                nats(0, Method::Static),
                "the first period is the same for {method:?}"
            );
            assert_ne!(nats(1, method), nats(1, Method::Static), "{method:?} went on learning");
        }
        assert_eq!((user.periods[0].selected, user.periods[1].selected), (8, 3));
    }
    // With two users the other's adapter is the only foreign one.
    let [ada, bob] = [0, 1].map(|u: usize| &comparison.users[u].periods[1].loss);
    assert_ne!(ada[&Method::OtherUser].nats, ada[&Method::SpringAdapter].nats);
    assert_ne!(bob[&Method::OtherUser].nats, bob[&Method::SpringAdapter].nats);
    assert!(comparison_svg(&comparison).unwrap().contains("domain adapter"));

    let settings = Settings { model: "tiny".into(), fingerprint: model.info().fingerprint.clone(), config };
    let store = MemoryStore::in_memory(&settings).unwrap();
    let lines: Vec<String> = texts("ada", 20).iter().map(|t| serde_json::to_string(t).unwrap()).collect();
    ingest_jsonl(&store, lines.join("\n").as_bytes(), "ada").unwrap();
    let user = UserId::new("ada").unwrap();
    adapt(&model, &store, &user, Periods { count: 2, hold_out: 0.2 }, &mut ()).unwrap();
    for (period, measured) in
        evaluate_state(&model, &store, &user).unwrap().iter().zip(&comparison.users[0].periods)
    {
        let close = |a: f64, b: f64| (a - b).abs() < 1e-3;
        assert!(close(period.base.nats, measured.loss[&Method::Base].nats));
        assert!(close(period.static_adapter.nats, measured.loss[&Method::Static].nats));
        assert!(close(period.adapter.nats, measured.loss[&Method::SpringAdapter].nats));
        assert!(close(period.spring.fused.nats, measured.loss[&Method::Spring].nats));
    }
}

#[test]
fn nothing_held_out_is_an_error_that_names_the_user() {
    let split = SplitConfig { periods: 5, hold_out: 0.1 };
    let plan = Plan { config: Config::default(), split, methods: vec![Method::Base] };
    let error = compare(&model(), &plan, &[stream("ada")], &[], &mut ()).unwrap_err().to_string();
    assert!(error.contains("ada") && error.contains("20 texts"), "{error}");
}
