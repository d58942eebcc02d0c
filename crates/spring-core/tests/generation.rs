//! Writing token by token: the text as it comes, stop strings, and many answers in one session.

#![allow(clippy::unwrap_used)]

mod common;

use std::ops::ControlFlow;

use common::{config, ingest, model, settings, texts, user};
use spring_core::{
    Config, Decode, Event, Periods, SqliteStore, TextGeneration, Tokenize, UserModel, adapt,
    record::{AnswerRecord, Ending},
    spring_fuse::{Contrast, GateConfig, SamplerConfig},
};

fn learned() -> UserModel<'static> {
    let ada = user("ada");
    let store = SqliteStore::in_memory(&settings(config())).unwrap();
    ingest(&store, &texts("ada", 0..20));
    adapt(model(), &store, &ada, Periods::default(), &mut ()).unwrap();
    UserModel::recall(model(), &store, &ada, None).unwrap()
}

/// Closed and open gates, greedy and drawn.
fn configs() -> Vec<Config> {
    let gates = [GateConfig::Never {}, GateConfig::Always { k: 2 }];
    let with = |(gate, temperature)| {
        let mut config = config().with_gate(gate);
        config.decoding.max_new_tokens = Some(24);
        config.decoding.sampler = SamplerConfig::default().with_temperature(temperature);
        config
    };
    gates.into_iter().flat_map(|gate| [(gate, 0.0), (gate, 1.5)]).map(with).collect()
}

/// The answer, and the texts of its events.
fn written(ada: &UserModel<'_>, config: &Config) -> (AnswerRecord, Vec<String>) {
    let mut parts = Vec::new();
    let mut listen = |event: Event<'_>| {
        if let Event::Token { text, .. } = event {
            parts.push(text.to_owned());
        }
        ControlFlow::Continue(())
    };
    let ada = ada.clone().with_config(config.clone());
    let answer = ada.generate("About soup", &mut listen).unwrap();
    (answer, parts)
}

#[test]
fn the_texts_of_the_events_are_the_answer() {
    let ada = learned();
    for config in configs() {
        let (answer, parts) = written(&ada, &config);
        assert_eq!(parts.concat(), answer.text);
        assert!(parts.len() > 5, "{parts:?}");
    }
}

#[test]
fn a_stop_string_ends_an_answer_and_never_shows() {
    let ada = learned();
    for config in configs() {
        let (whole, _) = written(&ada, &config);
        let characters: Vec<(usize, char)> = whole.text.char_indices().collect();
        // Stop strings of one to five characters anywhere in the text, so also across tokens.
        for (place, length) in [(0, 1), (3, 2), (7, 5), (characters.len() - 4, 3)] {
            let from = characters[place].0;
            let stop: String = characters[place..].iter().take(length).map(|(_, c)| c).collect();
            let mut config = config.clone();
            config.decoding.stop = vec!["never written".into(), stop.clone()];
            let (answer, parts) = written(&ada, &config);
            assert_eq!(answer.ended, Ending::StopString);
            assert_eq!(
                answer.text,
                whole.text[..whole.text.find(&stop).unwrap()],
                "{stop:?} at {from}"
            );
            assert_eq!(parts.concat(), answer.text);
            assert_eq!(answer.decoding.unwrap().stop, config.decoding.stop);
        }
    }
    let mut config = configs().remove(0);
    config.decoding.stop = vec![String::new()];
    assert!(config.check().unwrap_err().to_string().contains("stop"));
}

#[test]
fn answers_are_the_same_alone_and_in_one_session() {
    let ada = learned();
    let prompts = ["About soup", "About the sea", "Old films, a train and a dog?", "Hm"];
    // Each also contrasted with the base, which is a row more.
    let contrasted = configs().into_iter().map(|mut config| {
        config.fusion.contrast = Some(Contrast::default());
        config
    });
    let requests: Vec<(Config, &str)> = configs()
        .into_iter()
        .chain(contrasted)
        .flat_map(|config| prompts.map(|prompt| (config.clone(), prompt)))
        .collect();
    let timeless =
        |record: AnswerRecord| AnswerRecord { time: jiff::Timestamp::UNIX_EPOCH, ..record };
    let alone = |(config, prompt): &(Config, &str)| {
        let ada = ada.clone().with_config(config.clone());
        timeless(ada.generate(prompt, &mut ()).unwrap())
    };
    let expected: Vec<AnswerRecord> = requests.iter().map(alone).collect();

    let mut session = model().session().unwrap();
    let (mut waiting, mut live, mut done) = (requests.iter().enumerate(), Vec::new(), Vec::new());
    loop {
        // They come one after the other and end when they end.
        if let Some((i, (config, prompt))) = waiting.next() {
            let ada = ada.clone().with_config(config.clone());
            let mut generation = TextGeneration::new(&ada, prompt).unwrap();
            assert!(generation.prompt_tokens() > 0);
            generation.join(&mut *session).unwrap();
            live.push((i, generation));
        }
        if live.is_empty() {
            break;
        }
        let mut rest = Vec::new();
        for (i, mut generation) in live {
            match generation.step(model(), &*session).unwrap().ended {
                None => rest.push((i, generation)),
                Some(_) => {
                    assert!(generation.next_tokens().is_empty());
                    generation.leave(&mut *session);
                    done.push((i, generation.into_record(model()).unwrap()));
                }
            }
        }
        live = rest;
        let tokens: Vec<_> =
            live.iter().flat_map(|(_, generation)| generation.next_tokens()).collect();
        session.step(&tokens).unwrap();
    }
    done.sort_by_key(|(i, _)| *i);
    let done: Vec<AnswerRecord> = done.into_iter().map(|(_, record)| timeless(record)).collect();
    assert_eq!(done, expected);
}

#[test]
fn an_answer_that_is_stopped_keeps_what_was_written() {
    let ada = learned();
    let mut config = configs().remove(0);
    let (whole, _) = written(&ada, &config);
    // Half of a stop string is held back and belongs to the text when it ends otherwise.
    config.decoding.stop = vec![format!("{}#", whole.text)];
    let mut tokens = 0;
    let mut listen = |_: Event<'_>| {
        tokens += 1;
        if tokens == 4 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let stopped = ada.clone().with_config(config.clone());
    let answer = stopped.generate("About soup", &mut listen).unwrap();
    assert_eq!((answer.ended, tokens), (Ending::Stopped, 4));
    assert!(!answer.text.is_empty() && whole.text.starts_with(&answer.text), "{:?}", answer.text);
    let (unstopped, parts) = written(&ada, &config);
    assert_eq!((unstopped.text, parts.concat()), (whole.text.clone(), whole.text));
    assert_eq!(model().decode_text(&[]).unwrap(), "");
}
