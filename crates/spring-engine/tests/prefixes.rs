//! What contexts begin with is read once, and changes nothing but the time.

#![allow(clippy::unwrap_used)]

mod common;

use std::{sync::Arc, thread, time::Duration};

use common::{contrasted, ingest, long_model, store_of, store_with, texts, user, wait_for};
use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use spring_core::{LanguageModel, Store, prompt::Turn};
use spring_engine::{
    Changes, Dropped, Engine, EngineConfig, Event, Events, Input, PrefixStats, Request, channel,
};

/// Tokens of a part on the processor.
const PART: usize = 128;

fn engine(store: &Arc<Store>, prefixes: u64) -> Engine {
    let config = EngineConfig::default().with_prefixes(prefixes);
    Engine::start(long_model() as Arc<dyn LanguageModel>, store.clone(), config).unwrap()
}

/// A token and the bits of the likeliest ones' log-probabilities.
type Token = (u32, Vec<(u32, u32)>);

/// All that came of a request, to the last bit.
#[derive(Debug, PartialEq)]
struct Answer {
    texts: Vec<String>,
    tokens: Vec<Vec<Token>>,
}

fn collect(events: Events, choices: usize) -> (Answer, usize) {
    let mut answer =
        Answer { texts: vec![String::new(); choices], tokens: vec![Vec::new(); choices] };
    let mut cached = None;
    for event in events {
        match event {
            Event::Started(receipt) => cached = Some(receipt.cached_tokens),
            Event::Text { choice, text, token, likely, .. } => {
                answer.texts[choice].push_str(&text);
                if let (Some(token), Some(likely)) = (token, likely) {
                    let top = likely.top.iter().map(|(id, p)| (*id, p.to_bits())).collect();
                    answer.tokens[choice].push((token, top));
                }
            }
            Event::Failed(failure) => panic!("{failure}"),
            _ => {}
        }
    }
    (answer, cached.unwrap())
}

fn ask(engine: &Engine, request: Request) -> (Answer, usize) {
    let choices = request.choices;
    let (sink, events) = channel(256);
    engine.submit(request, sink).unwrap();
    collect(events, choices)
}

fn long(words: &str, count: usize) -> String {
    words.split(' ').cycle().take(count).collect::<Vec<_>>().join(" ")
}

/// A request for a few tokens that tells the likeliest.
fn short(input: Input) -> Request {
    let changes = Changes::default().with_max_tokens(Some(3));
    Request::new(input).with_changes(changes).with_likely(Some(2))
}

fn text(beginning: &str, end: &str) -> Input {
    Input::Text(format!("{} {end}", long(beginning, 60)))
}

fn asked(rng: &mut ChaCha8Rng) -> Request {
    let words = ["the sea", "soup", "a train", "my dog", "old films", "day", "odd", "why"];
    let beginning =
        *["be short and kind", "say what is odd", "films by the sea"].choose(rng).unwrap();
    let end: Vec<&str> = (0..rng.random_range(1..6)).map(|_| *words.choose(rng).unwrap()).collect();
    let end = end.join(" ");
    let input = match rng.random_range(0..4) {
        0 => Input::Text(format!("{} {end}", long(beginning, rng.random_range(30..90)))),
        1 => Input::prompt(end),
        _ => {
            let turn = |i: usize| Turn {
                prompt: long(words[i], 8),
                response: long("lovely or dull", 5 * i),
            };
            Input::Chat {
                system: Some(long(beginning, 70)),
                turns: (0..rng.random_range(0..4)).map(turn).collect(),
                prompt: end,
            }
        }
    };
    let changes = Changes::default()
        .with_max_tokens(Some(rng.random_range(1..12)))
        .with_temperature(Some(*[0.0, 0.8, 1.5].choose(rng).unwrap()))
        .with_seed(Some(rng.random()));
    let request = Request::new(input)
        .by(["a", "b"].choose(rng).unwrap().to_string())
        .with_choices(*[1, 1, 2, 3].choose(rng).unwrap())
        .with_changes(changes)
        .with_likely(Some(2));
    match *[Some("ada"), Some("bob"), Some("dan"), None].choose(rng).unwrap() {
        Some(name) => request.of_user(user(name)),
        None => request,
    }
}

#[test]
fn an_answer_has_the_same_bits_whatever_is_kept_and_in_any_company() {
    let store = store_of(&long_model());
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let all: Vec<Request> = (0..60).map(|_| asked(&mut rng)).collect();
    let plain = engine(&store, 0);
    let expected: Vec<Answer> = all
        .iter()
        .map(|request| {
            let (answer, cached) = ask(&plain, request.clone());
            assert_eq!(cached, 0);
            answer
        })
        .collect();
    assert_eq!(plain.stats().prefixes, PrefixStats::default());
    let read_without = plain.stats().prompt_tokens;

    // Room for everything, and for a few parts alone.
    let part = 2 * 2 * 2 * 12 * 4 * PART as u64;
    for budget in [1 << 30, 5 * part] {
        let engine = engine(&store, budget);
        let begin: Vec<u64> = all.iter().map(|_| rng.random_range(0..80)).collect();
        let leave: Vec<bool> = all.iter().map(|_| rng.random_bool(0.1)).collect();
        thread::scope(|scope| {
            for (((request, expected), begin), leave) in
                all.iter().zip(&expected).zip(begin).zip(leave)
            {
                let engine = &engine;
                scope.spawn(move || {
                    thread::sleep(Duration::from_millis(begin));
                    let (sink, events) = channel(256);
                    engine.submit(request.clone(), sink).unwrap();
                    match leave {
                        true => events.take(1).for_each(drop),
                        false => {
                            assert_eq!(collect(events, request.choices).0, *expected, "{request:?}")
                        }
                    }
                });
            }
        });
        wait_for("the end of those who left", || engine.stats().running == 0);
        // Once more, one after the other, now that what they begin with was read.
        for (request, expected) in all.iter().zip(&expected) {
            let (answer, cached) = ask(&engine, request.clone());
            assert_eq!(answer, *expected, "{request:?}, {cached} tokens were kept");
        }
        let stats = engine.stats();
        let PrefixStats { queried, hit, evicted, parts, bytes, .. } = stats.prefixes;
        assert!(hit > 0 && hit.is_multiple_of(PART as u64) && hit < queried, "{stats:?}");
        assert!(bytes <= budget && bytes == parts as u64 * part, "{stats:?}");
        assert!(stats.prompt_tokens + hit <= 2 * read_without, "{stats:?}");
        if budget > 1 << 20 {
            assert_eq!(evicted, 0);
            assert!(hit > queried / 8, "{stats:?}");
        } else {
            assert!(evicted > 0, "{stats:?}");
        }
    }
}

/// The person's model and the base read the same tokens, and each begins with its own numbers.
#[test]
fn both_sides_of_a_contrast_begin_with_what_they_have_read_themselves() {
    let store = store_with(&long_model(), contrasted());
    let of = |end: &str| short(text("what is said of films", end)).of_user(user("ada"));
    let plain = engine(&store, 0);
    let kept = engine(&store, 1 << 30);
    let first = ask(&kept, of("one"));
    assert_eq!(first, ask(&plain, of("one")));
    let queried = kept.stats().prefixes.queried;
    let (second, cached) = ask(&kept, of("two"));
    assert_eq!(second, ask(&plain, of("two")).0);
    assert!(cached >= PART, "{cached}");
    let stats = kept.stats().prefixes;
    assert_eq!(stats.hit, 2 * cached as u64, "of both rows: {stats:?}");
    assert!(stats.queried > queried && stats.parts >= 2 * cached / PART, "{stats:?}");
}

#[test]
fn nobody_begins_with_what_another_has_read() {
    let store = store_of(&long_model());
    let engine = engine(&store, 1 << 30);
    let begin = "what is said of films";
    let of = |name: &str, end: &str| short(text(begin, end)).of_user(user(name));
    let base = |key: &str, end: &str| short(text(begin, end)).by(key);
    let cached = |request: Request| ask(&engine, request).1;
    assert_eq!(cached(of("ada", "one")), 0);
    let own = cached(of("ada", "two"));
    assert!(own >= PART && own.is_multiple_of(PART), "{own}");
    // The same tokens, and of those without an adapter the same keys and values.
    for request in [of("bob", "one"), of("dan", "one"), base("a", "one"), base("b", "one")] {
        assert_eq!(cached(request), 0);
    }
    assert_eq!(cached(of("dan", "two")), own);
    assert_eq!(cached(base("a", "two")), own);
    // Whose key asks for a person does not matter.
    assert_eq!(cached(of("ada", "three").by("c")), own);
}

/// As behind a gateway's key, with or without a model of their own.
#[test]
fn people_of_one_key_do_not_begin_with_what_another_of_them_has_asked_of_the_base() {
    let store = store_of(&long_model());
    let engine = engine(&store, 1 << 30);
    let begin = "what is said of films";
    let base = |end: &str| short(text(begin, end)).by("gateway");
    let cached = |request: Request| ask(&engine, request).1;
    assert_eq!(cached(base("one")), 0);
    let own = cached(base("two"));
    assert!(own >= PART, "{own}");
    for person in ["ada", "eve"] {
        assert_eq!(cached(base("one").by_person(person)), 0, "{person}");
        assert_eq!(cached(base("two").by_person(person)), own, "{person}");
    }
    // A user of the state is one and the same whatever the key, and two keys may each have an "eve"
    // of their own.
    let by_another = |person: &str| cached(base("two").by_person(person).by("other"));
    assert_eq!([by_another("ada"), by_another("eve"), by_another("eve")], [own, 0, own]);
    // Nor is what they have asked their own models in the way, or found there.
    assert_eq!(cached(base("one").by_person("ada").of_user(user("ada"))), 0);
    assert_eq!(cached(base("one").by_person("ada")), own);
    assert_eq!(cached(base("three")), own, "who names nobody is the key");

    // It goes with the person.
    engine.forget(&user("ada"));
    assert_eq!(cached(base("one").by_person("ada")), 0);
    assert_eq!(cached(base("one").by_person("eve")), own);
}

#[test]
fn what_was_read_for_somebody_goes_with_their_generation_and_with_their_texts() {
    let store = store_of(&long_model());
    let engine = engine(&store, 1 << 30);
    let begin = "what is said of films";
    let of = |name: &str| short(text(begin, "one")).of_user(user(name));
    let cached = |name: &str| ask(&engine, of(name)).1;
    let bytes = || engine.stats().prefixes.bytes;
    let wait_for_bytes = |expected| wait_for("what is to be kept", || bytes() == expected);
    for name in ["ada", "bob"] {
        assert_eq!(cached(name), 0);
        assert!(cached(name) > 0);
    }
    let both = bytes();

    ingest(&store, &texts("ada", 30..50));
    engine.adapt(&user("ada")).unwrap();
    wait_for("the adaptation", || engine.adaptations(None)[0].state.is_over());
    wait_for_bytes(both / 2);
    assert_eq!(cached("ada"), 0);
    assert!(cached("ada") > 0 && cached("bob") > 0);

    // Also where somebody else changes the state.
    store.rollback(&user("ada"), Some(1)).unwrap();
    assert_eq!(cached("ada"), 0);
    wait_for_bytes(both);

    let parts = engine.stats().prefixes.parts;
    let dropped = engine.forget(&user("ada"));
    assert_eq!((dropped.requests, dropped.models, dropped.prefixes), (0, 1, parts / 2));
    assert_eq!(engine.forget(&user("ada")), Dropped::default(), "there is nothing left");
    wait_for_bytes(both / 2);
    assert!(cached("bob") > 0);
    assert_eq!(cached("ada"), 0);
}

/// Another process may remove a user and make another one of the same name, whose generations have
/// the same numbers.
#[test]
fn a_user_of_the_same_name_is_not_answered_as_the_one_before() {
    let store = store_of(&long_model());
    let serving = engine(&store, 1 << 30);
    let of_ada = || short(text("what is said of films", "one")).of_user(user("ada"));
    let generation = || store.user(&user("ada")).unwrap().generation;
    let (before, _) = ask(&serving, of_ada());
    assert!(ask(&serving, of_ada()).1 > 0);
    assert_eq!(generation(), 1);
    store.forget(&user("ada")).unwrap();
    ingest(&store, &texts("ada", 40..52));
    let plan = spring_core::PeriodPlan::default();
    spring_core::adapt(&*long_model(), &store, &user("ada"), plan, &mut ()).unwrap();
    let (after, cached) = ask(&serving, of_ada());
    assert_eq!((generation(), cached), (1, 0));
    assert_ne!(after, before);
    assert_eq!(after, ask(&engine(&store, 0), of_ada()).0);
}

#[test]
fn several_texts_of_one_request_read_the_prompt_once() {
    let store = store_of(&long_model());
    for prefixes in [0, 1 << 30] {
        let engine = engine(&store, prefixes);
        let changes = Changes::default().with_max_tokens(Some(9)).with_temperature(Some(1.3));
        let input = Input::Chat {
            system: Some(long("be short and kind", 70)),
            turns: vec![],
            prompt: "About soup".into(),
        };
        let request =
            Request::new(input).of_user(user("ada")).with_likely(Some(2)).with_changes(changes);
        let (one, _) = ask(&engine, request.clone());
        let read = engine.stats().prompt_tokens;
        assert!(read as usize > PART);
        let (several, cached) = ask(&engine, request.clone().with_choices(4));
        let again = engine.stats().prompt_tokens - read;
        assert_eq!(several.texts[0], one.texts[0]);
        assert_eq!(several.tokens[0], one.tokens[0]);
        assert_ne!(several.texts[1], several.texts[2]);
        match prefixes {
            0 => assert_eq!((again, cached), (read, 0)),
            _ => assert!(cached > 0 && again < read, "{again} of {read}"),
        }
        wait_for("the end of all rows", || engine.stats().rows == 0);
    }
}
