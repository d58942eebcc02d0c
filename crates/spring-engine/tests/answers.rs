//! What an engine answers: the same as the library, in any company.

#![allow(clippy::unwrap_used)]

mod common;

use std::{thread, time::Duration};

use common::{alone, ask, collect, contrasted, engine, model, store, store_with, timeless, user};
use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use spring_core::{
    Tokenize, UserModel,
    prompt::Turn,
    record::{AnswerRecord, Ending},
};
use spring_engine::{Changes, EngineConfig, Event, Input, Refusal, Request, channel};

#[test]
fn an_answer_is_that_of_the_library_and_its_texts_are_its_events() {
    let store = store();
    let engine = engine(&store, EngineConfig::default());
    for (name, temperature) in [("ada", 0.0), ("bob", 1.2), ("dan", 0.7)] {
        let changes = Changes::default().with_temperature(Some(temperature)).with_seed(Some(7));
        let request =
            Request::new(Input::prompt("About soup")).of_user(user(name)).with_changes(changes);
        let expected = alone(&store, name, "About soup", |config| {
            config.decoding.sampler.temperature = temperature;
            config.decoding.sampler.seed = 7;
        });
        assert_eq!(ask(&engine, request).records[0], expected, "{name}");
        assert_eq!(expected.gate.open, name != "dan", "{name}: {:?}", expected.gate);
    }
    // The base is asked by name, never instead of somebody.
    let base = ask(&engine, Request::new(Input::prompt("About soup")));
    let model = model();
    let expected = UserModel::fresh(&*model, common::config(), None).unwrap();
    let expected = expected.generate("About soup", &mut ()).unwrap();
    assert_eq!(base.records, [timeless(expected)]);
    assert_eq!(base.records[0].generation, 0);
    let nobody = Request::new(Input::prompt("About soup")).of_user(user("nobody"));
    let refused = engine.submit(nobody, channel(1).0).unwrap_err();
    assert!(refused.to_string().contains("nobody"), "{refused}");
}

/// What one of many asks.
#[derive(Debug, Clone)]
struct Asked {
    request: Request,
    /// Its reader leaves after so many events.
    leaves: Option<usize>,
    /// Whether it reads slowly, by a channel of this capacity.
    capacity: usize,
}

fn asked(rng: &mut ChaCha8Rng) -> Asked {
    let words = ["the sea", "soup", "a train", "my dog", "old films", "day", "odd", "why"];
    let length =
        if rng.random_bool(0.3) { rng.random_range(8..16) } else { rng.random_range(1..5) };
    let prompt: Vec<&str> = (0..length).map(|_| *words.choose(rng).unwrap()).collect();
    let prompt = prompt.join(" ");
    let input = match rng.random_range(0..5) {
        0 => Input::Text(prompt),
        1 => Input::Chat {
            system: Some("Be short.".into()),
            turns: vec![Turn { prompt: "Hello".into(), response: "Hello.".into() }],
            prompt,
        },
        _ => Input::prompt(prompt),
    };
    let changes = Changes::default()
        .with_max_tokens(Some(rng.random_range(1..30)))
        .with_temperature(Some(*[0.0, 0.8, 1.5].choose(rng).unwrap()))
        .with_top_p(rng.random_bool(0.3).then_some(0.9))
        .with_repetition(rng.random_bool(0.3).then_some(1.0))
        .with_presence(rng.random_bool(0.3).then_some(0.5))
        .with_seed(Some(rng.random()));
    let mut request = Request::new(input)
        .by(["a", "b", "c"].choose(rng).unwrap().to_string())
        .with_choices(*[1, 1, 1, 2, 3].choose(rng).unwrap())
        .with_changes(changes);
    if let Some(name) =
        [Some("ada"), Some("bob"), Some("cy"), Some("dan"), None].choose(rng).unwrap()
    {
        request = request.of_user(user(name));
    }
    let leaves = rng.random_bool(0.2).then(|| rng.random_range(0..20));
    Asked { request, leaves, capacity: *[1, 3, 256].choose(rng).unwrap() }
}

#[test]
fn an_answer_is_the_same_in_any_company_whoever_comes_and_goes() {
    let store = store();
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let all: Vec<Asked> = (0..60).map(|_| asked(&mut rng)).collect();
    let lonely = engine(&store, EngineConfig::default());
    let expected: Vec<_> = all.iter().map(|asked| ask(&lonely, asked.request.clone())).collect();
    assert!(expected.iter().any(|answer| answer.records[0].gate.open));

    // Few rows, so that they wait; many, so that they are together.
    for rows in [7, 40] {
        let engine = engine(&store, EngineConfig::default().with_rows(rows));
        let begin: Vec<u64> = all.iter().map(|_| rng.random_range(0..60)).collect();
        thread::scope(|scope| {
            for ((asked, expected), begin) in all.iter().zip(&expected).zip(begin) {
                let engine = &engine;
                scope.spawn(move || {
                    thread::sleep(Duration::from_millis(begin));
                    let (sink, events) = channel(asked.capacity);
                    engine.submit(asked.request.clone(), sink).unwrap();
                    match asked.leaves {
                        Some(events_read) => events.take(events_read).for_each(drop),
                        None => {
                            let got = collect(events, asked.request.choices).unwrap();
                            assert_eq!(got, *expected, "{asked:?}");
                        }
                    }
                });
            }
        });
        common::wait_for("the end of those who left", || {
            let stats = engine.stats();
            (stats.running, stats.waiting, stats.rows) == (0, 0, 0)
        });
        let stats = engine.stats();
        assert_eq!(stats.requests, 60);
        assert_eq!(stats.failed, 0);
        let left = all.iter().filter(|asked| asked.leaves.is_some()).count() as u64;
        assert!(stats.cancelled <= left, "{stats:?}");
        assert!(stats.texts.stop + stats.texts.length >= 60 - left, "{stats:?}");
        assert!(stats.steps < stats.generated_tokens, "several rows share a step: {stats:?}");
    }
}

#[test]
fn several_texts_of_one_request_differ_and_each_has_its_seed() {
    let store = store();
    let engine = engine(&store, EngineConfig::default());
    let changes = Changes::default().with_temperature(Some(1.5)).with_seed(Some(3));
    let request = Request::new(Input::prompt("About a train"))
        .of_user(user("ada"))
        .with_changes(changes.clone());
    let one = ask(&engine, request.clone());
    let three = ask(&engine, request.clone().with_choices(3));
    assert_eq!(three.records[0], one.records[0]);
    assert!(three.texts[1] != three.texts[0] && three.texts[1] != three.texts[2]);
    assert_eq!(three, ask(&engine, request.clone().with_choices(3)));
    let seed = |record: &AnswerRecord| record.decoding.as_ref().unwrap().sampler.seed;
    let again = changes.with_seed(Some(seed(&three.records[2])));
    assert_eq!(ask(&engine, request.clone().with_changes(again)).texts[0], three.texts[2]);
    for choices in [0, 9] {
        let refused = engine.submit(request.clone().with_choices(choices), channel(1).0);
        assert!(matches!(refused, Err(Refusal::Choices { .. })), "{refused:?}");
    }
}

#[test]
fn log_probabilities_are_those_of_the_mixed_distribution_before_penalties() {
    let store = store();
    let engine = engine(&store, EngineConfig::default());
    for name in ["ada", "dan"] {
        let request = Request::new(Input::prompt("About my dog"))
            .of_user(user(name))
            .with_changes(Changes::default().with_repetition(Some(1.0)))
            .with_likely(Some(3));
        let (sink, events) = channel(256);
        engine.submit(request, sink).unwrap();
        let mut tokens = 0;
        for event in events {
            let Event::Text { token: Some(token), likely, trace, .. } = event else { continue };
            let likely = likely.unwrap();
            // Greedy, so the token is the likeliest.
            assert_eq!(likely.top.len(), 3);
            assert_eq!(likely.top[0], (token, likely.log_prob));
            assert!(likely.top[0].1 >= likely.top[1].1 && likely.top[1].1 >= likely.top[2].1);
            assert!(likely.log_prob < 0.0 && likely.log_prob > -20.0);
            assert_eq!(trace.is_some(), name == "ada");
            tokens += 1;
        }
        assert!(tokens > 5);
    }
}

#[test]
fn a_stop_string_ends_one_text_and_not_the_others() {
    let store = store();
    let engine = engine(&store, EngineConfig::default());
    let changes = Changes::default().with_temperature(Some(1.0)).with_seed(Some(1));
    let request = |changes| {
        Request::new(Input::prompt("About soup"))
            .of_user(user("bob"))
            .with_choices(2)
            .with_changes(changes)
    };
    let whole = ask(&engine, request(changes.clone()));
    let stop: String = whole.texts[0].chars().skip(5).take(4).collect();
    let stopped = ask(&engine, request(changes.with_stop(Some(vec![stop.clone()]))));
    for choice in 0..2 {
        let expected = match whole.texts[choice].find(&stop) {
            Some(end) => (&whole.texts[choice][..end], Ending::StopString),
            None => (&*whole.texts[choice], whole.records[choice].ended),
        };
        let got = (&*stopped.texts[choice], stopped.records[choice].ended);
        assert_eq!(got, expected);
    }
    assert_eq!(stopped.records[0].ended, Ending::StopString);
}

#[test]
fn a_text_is_continued_as_it_is_by_the_persons_adapter() {
    let store = store();
    let engine = engine(&store, EngineConfig::default());
    let text = "ada finds the sea";
    let continued = ask(&engine, Request::new(Input::Text(text.into())).of_user(user("ada")));
    let ids = model().encode(text).unwrap();
    let tokens = ask(&engine, Request::new(Input::Tokens(ids)).of_user(user("ada")));
    assert_eq!(continued.tokens, tokens.tokens);
    let base = ask(&engine, Request::new(Input::Text(text.into())));
    assert_ne!(continued.tokens, base.tokens, "the adapter shows");
    let record = &continued.records[0];
    assert!(!record.gate.open && record.generation == 1 && record.fusion.is_none());
    // An empty text begins where every text does.
    assert!(!ask(&engine, Request::new(Input::Text(String::new()))).tokens[0].is_empty());
}

#[test]
fn a_prompt_that_does_not_fit_is_refused_and_one_that_does_gets_what_room_is_left() {
    let store = store();
    let engine = engine(&store, EngineConfig::default());
    let long = "soup ".repeat(300);
    let refused =
        engine.submit(Request::new(Input::prompt(long.clone())).of_user(user("ada")), channel(1).0);
    let refused = refused.unwrap_err();
    assert!(
        matches!(refused, Refusal::Core(spring_core::Error::TooLong { context: 256, .. })),
        "{refused}"
    );
    let mut cut = Request::new(Input::prompt(long));
    cut.whole = false;
    assert!(!ask(&engine, cut).records[0].cuts.is_empty());

    let changes = Changes::default().with_max_tokens(Some(10_000));
    let words = "soup ".repeat(30);
    let request = Request::new(Input::prompt(words)).of_user(user("ada")).with_changes(changes);
    let (sink, events) = channel(512);
    let receipt = engine.submit(request, sink).unwrap();
    let answer = collect(events, 1).unwrap();
    assert!(answer.records[0].cuts.iter().all(|cut| !cut.to_string().contains("prompt")));
    assert!(receipt.prompt_tokens + answer.tokens[0].len() <= 256);
    // A setting out of range is the request's fault, and said at once.
    let changes = Changes::default().with_temperature(Some(-1.0));
    let refused =
        engine.submit(Request::new(Input::prompt("x")).with_changes(changes), channel(1).0);
    assert!(refused.unwrap_err().to_string().contains("temperature"));
}

/// A contrast is a row of the base more, and the answer is still the library's.
#[test]
fn an_answer_that_is_contrasted_with_the_base_is_that_of_the_library() {
    let store = store_with(&model(), contrasted());
    let engine = engine(&store, EngineConfig::default());
    for (name, temperature) in [("ada", 0.0), ("bob", 1.2), ("dan", 0.7)] {
        let changes = Changes::default().with_temperature(Some(temperature)).with_seed(Some(7));
        let request = Request::new(Input::prompt("About soup"))
            .of_user(user(name))
            .with_changes(changes)
            .with_choices(2);
        let expected = alone(&store, name, "About soup", |config| {
            config.decoding.sampler.temperature = temperature;
            config.decoding.sampler.seed = 7;
        });
        let answer = ask(&engine, request);
        assert_eq!(answer.records[0], expected, "{name}");
        let seed = answer.records[1].decoding.as_ref().unwrap().sampler.seed;
        let second = alone(&store, name, "About soup", |config| {
            config.decoding.sampler.temperature = temperature;
            config.decoding.sampler.seed = seed;
        });
        assert_eq!(answer.records[1], second, "{name}, by a copy of three rows");
        // Nothing was learned of dan, who is answered by the base.
        let contrast = expected.fusion.and_then(|fusion| fusion.contrast);
        assert_eq!(contrast.is_some(), name != "dan", "{name}");
    }
    // Personal and base, and with retrieved texts three.
    let request = || Request::new(Input::prompt("About soup")).of_user(user("ada"));
    let few = common::engine(&store, EngineConfig::default().with_rows(2));
    let refused = few.submit(request(), channel(1).0).unwrap_err();
    assert!(matches!(refused, Refusal::TooLarge { rows: 3, most_rows: 2, .. }), "{refused}");
    let continued = Request::new(Input::Text("ada finds".into())).of_user(user("ada"));
    let record = &ask(&few, continued).records[0];
    assert!(!record.gate.open && record.fusion.is_some());
    let (sink, events) = channel(256);
    let receipt = engine.submit(request(), sink).unwrap();
    collect(events, 1).unwrap();
    assert!(receipt.read_tokens > 3 * receipt.prompt_tokens, "{receipt:?}");
}

/// An open gate is two rows; the engine's limits count both.
#[test]
fn a_request_that_the_batch_can_never_hold_is_refused() {
    let store = store();
    let few = engine(&store, EngineConfig::default().with_rows(1));
    let request = Request::new(Input::prompt("About soup")).of_user(user("ada"));
    let refused = few.submit(request.clone(), channel(1).0).unwrap_err();
    assert!(matches!(refused, Refusal::TooLarge { rows: 2, most_rows: 1, .. }), "{refused}");
    ask(&few, Request::new(Input::prompt("About soup")));
    let short = engine(&store, EngineConfig::default().with_tokens(40));
    let refused = short.submit(request, channel(1).0).unwrap_err();
    assert!(matches!(refused, Refusal::TooLarge { most_tokens: 40, .. }), "{refused}");
}
