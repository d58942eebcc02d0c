//! An engine under pressure: cancelled, full, slow, ending.

#![allow(clippy::unwrap_used)]

mod common;

use std::{thread, time::Duration};

use common::{alone, collect, engine, store, user, wait_for};
use spring_core::record::Ending;
use spring_engine::{Engine, EngineConfig, Event, Events, Input, Refusal, Request, Whose, channel};

/// Fits one request of the base at a time.
fn one_at_a_time() -> EngineConfig {
    EngineConfig::default().with_rows(1).with_waiting(4).with_waiting_per_key(2)
}

fn base(key: &str) -> Request {
    Request::new(Input::prompt("About soup")).by(key)
}

/// A request in the batch that nobody reads: it stays there.
fn held(engine: &Engine) -> Events {
    let (sink, events) = channel(1);
    engine.submit(base("held"), sink).unwrap();
    wait_for("the first request", || engine.stats().running == 1);
    events
}

#[test]
fn who_leaves_the_queue_leaves_their_place_and_nobody_elses_work_goes() {
    let store = store();
    let engine = engine(&store, one_at_a_time());
    let first = held(&engine);
    let submit = |key| {
        let (sink, events) = channel(64);
        engine.submit(base(key), sink).map(|_| events)
    };
    let (gone, stays) = (submit("a").unwrap(), submit("a").unwrap());
    let full = submit("a").unwrap_err();
    let Refusal::Full { whose: Whose::Key, waiting: 2, retry_after } = full else {
        panic!("{full}")
    };
    assert!((1..=120).contains(&retry_after.as_secs()));
    let others = [submit("b").unwrap(), submit("c").unwrap()];
    let full = submit("d").unwrap_err();
    assert!(matches!(full, Refusal::Full { whose: Whose::Everybody, waiting: 4, .. }), "{full}");
    drop(gone);
    wait_for("the place of who left", || engine.stats().waiting == 3);
    let late = submit("d").unwrap();
    assert_eq!(engine.stats().running, 1, "the one in the batch is untouched");

    let expected = collect(first, 1).unwrap();
    for events in others.into_iter().chain([stays, late]) {
        assert_eq!(collect(events, 1).unwrap().texts, expected.texts);
    }
    let stats = engine.stats();
    assert_eq!((stats.cancelled, stats.refused, stats.failed), (1, 2, 0));
}

#[test]
fn who_leaves_while_a_text_is_read_or_written_frees_the_batch() {
    let store = store();
    let engine = engine(&store, EngineConfig::default().with_rows(4));
    for events_read in [0, 1, 3] {
        let (sink, events) = channel(1);
        let long = Input::prompt("soup and a train ".repeat(9));
        engine.submit(Request::new(long).of_user(user("ada")), sink).unwrap();
        let mut events = events;
        for _ in 0..events_read {
            events.next().unwrap();
        }
        drop(events);
        wait_for("the end", || engine.stats().rows == 0 && engine.stats().waiting == 0);
    }
    assert_eq!(engine.stats().cancelled, 3);
}

#[test]
fn a_slow_reader_holds_nobody_up_and_is_given_up_at_last() {
    let store = store();
    let reader = Duration::from_millis(300);
    let engine = engine(&store, EngineConfig::default().with_reader(reader));
    let slow = held(&engine);
    // Many answers are written while one waits for its reader.
    let expected = alone(&store, "ada", "About soup", |_| {}).text;
    for _ in 0..3 {
        let (sink, events) = channel(64);
        let request = Request::new(Input::prompt("About soup")).of_user(user("ada"));
        engine.submit(request, sink).unwrap();
        assert_eq!(collect(events, 1).unwrap().texts[0], expected);
    }
    wait_for("the end of patience", || engine.stats().running == 0);
    let read: Vec<Event> = slow.collect();
    assert!(read.len() <= 1, "{read:?}");
    assert_eq!((engine.stats().cancelled, engine.stats().failed), (1, 0));
}

#[test]
fn a_reader_that_pauses_gets_the_same_text() {
    let store = store();
    let engine = engine(&store, EngineConfig::default());
    let expected = alone(&store, "bob", "About a train", |_| {});
    let (sink, events) = channel(1);
    engine.submit(Request::new(Input::prompt("About a train")).of_user(user("bob")), sink).unwrap();
    let slowly = events.inspect(|_| thread::sleep(Duration::from_millis(10)));
    let texts: Vec<String> = slowly
        .filter_map(|event| match event {
            Event::Text { text, .. } => Some(text),
            _ => None,
        })
        .collect();
    assert_eq!(texts.concat(), expected.text);
}

#[test]
fn an_engine_that_drains_takes_nothing_new_and_ends_what_it_has() {
    let store = store();
    let engine = engine(&store, one_at_a_time());
    let (first, (sink, second)) = (held(&engine), channel(64));
    engine.submit(base("a"), sink).unwrap();
    thread::scope(|scope| {
        let draining = scope.spawn(|| engine.drain(Duration::from_secs(60)));
        wait_for("the drain", || !engine.is_ready());
        let refused = engine.submit(base("b"), channel(1).0).unwrap_err();
        assert!(matches!(refused, Refusal::Draining), "{refused}");
        assert!(!draining.is_finished());
        let texts = [first, second].map(|events| collect(events, 1).unwrap().texts);
        assert_eq!(texts[0], texts[1]);
        draining.join().unwrap();
    });
    let refused = engine.submit(base("b"), channel(1).0).unwrap_err();
    assert!(matches!(refused, Refusal::Ended), "{refused}");
    assert_eq!(engine.forget(&user("ada")).requests, 0);
}

#[test]
fn what_does_not_end_within_the_limit_is_cut_off_and_says_so() {
    let store = store();
    let engine = engine(&store, one_at_a_time());
    let running = held(&engine);
    let (sink, waiting) = channel(64);
    engine.submit(base("a"), sink).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| engine.drain(Duration::ZERO));
        let cut = collect(running, 1).unwrap();
        assert_eq!(cut.records[0].ended, Ending::Stopped);
        assert!(!cut.tokens[0].is_empty());
    });
    let expected = "the engine ended before the answer did";
    assert_eq!(collect(waiting, 1).unwrap_err(), expected);
}

#[test]
fn a_user_who_is_removed_gets_no_more_of_an_answer_and_others_do() {
    let store = store();
    let engine = engine(&store, EngineConfig::default().with_rows(2));
    let of = |name: &str| Request::new(Input::prompt("About soup")).of_user(user(name));
    // Two rows each, so that one is in the batch and the others wait.
    let (sink, running) = channel(1);
    engine.submit(of("ada"), sink).unwrap();
    wait_for("the first", || engine.stats().running == 1);
    let (sink, waiting) = channel(64);
    engine.submit(of("ada"), sink).unwrap();
    let (sink, other) = channel(64);
    engine.submit(of("bob"), sink).unwrap();
    let expected = alone(&store, "bob", "About soup", |_| {});
    let stats = engine.stats();
    // Ada's, which one request has and another waits for, and Bob's.
    assert_eq!((stats.running_adapters, stats.waiting_adapters), (1, 2));

    store.forget(&user("ada")).unwrap();
    assert_eq!(engine.forget(&user("ada")).requests, 2);
    let told = |events| collect(events, 1).unwrap_err();
    assert_eq!([told(running), told(waiting)], ["user ada was removed", "user ada was removed"]);
    assert_eq!(collect(other, 1).unwrap().records, [expected]);
    let refused = engine.submit(of("ada"), channel(1).0).unwrap_err();
    assert!(refused.to_string().contains("ada is not in"), "{refused}");
}

#[test]
fn keys_take_turns_however_much_one_of_them_asks() {
    let store = store();
    let config = one_at_a_time().with_waiting(64);
    let engine = engine(&store, config.with_waiting_per_key(32));
    let first = held(&engine);
    let (order, seen) = std::sync::mpsc::channel();
    let submit = |key: &'static str| {
        let (sink, events) = channel(64);
        engine.submit(base(key), sink).unwrap();
        let order = order.clone();
        move || {
            let mut events = events;
            assert!(matches!(events.next(), Some(Event::Started(_))));
            order.send(key).unwrap();
            events.for_each(drop);
        }
    };
    let greedy: Vec<_> = (0..6).map(|_| submit("greedy")).collect();
    let modest = submit("modest");
    thread::scope(|scope| {
        greedy.into_iter().for_each(|read| drop(scope.spawn(read)));
        scope.spawn(modest);
        first.for_each(drop);
    });
    let order: Vec<&str> = seen.try_iter().collect();
    let place = order.iter().position(|key| *key == "modest").unwrap();
    assert!(place <= 2, "{order:?}");
}
