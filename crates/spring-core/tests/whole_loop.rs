//! The whole loop on a tiny real model: ingest, adapt, stop and resume, generate.

#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used)]

use std::{ops::ControlFlow, path::Path, sync::OnceLock};

use spring_core::{
    Config, Decode, Error, Event, Learner, Period, Periods, PlannedPeriod, RetrieverKind, Score,
    Settings, SqliteStore, TextGeneration, Tokenize, UserModel, adapt, drift_signal, ingest_jsonl,
    novelties,
    prompt::{Cut, RetrievedPair, contexts, contexts_of_rest, encode_pair},
    record::AnswerRecord,
    spring_drift::{Alpha, DetectorConfig, SignalConfig},
    spring_fuse::{Contrast, GateConfig, Lambda, Tail},
    spring_memory::UserId,
};
use spring_lm::Branch;
use spring_model::{AnyModel, Device, ModelFiles, TrainConfig};

fn model() -> &'static AnyModel {
    static MODEL: OnceLock<AnyModel> = OnceLock::new();
    MODEL.get_or_init(|| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama");
        AnyModel::load(&ModelFiles::from_dir(folder).unwrap(), Device::Cpu).unwrap()
    })
}

fn config() -> Config {
    Config::default().with_training(TrainConfig::default().with_learning_rate(1e-2))
}

/// `count` short texts of a user, one a day.
fn history(user: &str, count: usize) -> String {
    let subjects = ["the sea", "a train", "my dog", "old films", "soup"];
    (0..count)
        .map(|i| {
            let (subject, mood) = (subjects[i % 5], if i < count / 2 { "lovely" } else { "dull" });
            serde_json::json!({
                "user": user, "id": format!("{i}"),
                "time": format!("2024-01-{:02}T08:00:00Z", i + 1),
                "prompt": format!("About {subject}"), "response": format!("{user} finds {subject} \
                    {mood} on day {i}.")
            })
            .to_string()
                + "\n"
        })
        .collect()
}

fn store(config: Config, users: &[(&str, usize)]) -> SqliteStore {
    let settings = Settings::new("tiny", model().info().fingerprint.clone(), config);
    let store = SqliteStore::in_memory(&settings).unwrap();
    for (user, count) in users {
        let lines = history(user, *count);
        ingest_jsonl(&store, lines.as_bytes(), "history").unwrap();
    }
    store
}

fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

const THREE: Periods = Periods { count: 3, hold_out: 0.2 };

#[test]
fn periods_are_scored_selected_learned_and_kept_as_the_method_says() {
    let store = store(config(), &[("ada", 30)]);
    let ada = user("ada");
    let records = adapt(model(), &store, &ada, THREE, &mut ()).unwrap();
    assert_eq!(records.len(), 3);
    assert_eq!(records, store.period_records(&ada, None).unwrap());
    assert_eq!(records.iter().map(|r| r.generation).collect::<Vec<_>>(), [1, 2, 3]);
    let records: Vec<_> = records.into_iter().map(|learned| learned.record).collect();
    for (t, record) in records.iter().enumerate() {
        assert_eq!((record.period as usize, record.scores.len(), record.held_out), (t + 1, 8, 2));
        // All of the first period, then ⌈0.3 · 8⌉.
        assert_eq!(record.selection.selected, if t == 0 { 8 } else { 3 });
        let lowest = record
            .scores
            .iter()
            .filter(|s| s.selected.is_some())
            .map(|s| s.score.score)
            .fold(f64::MAX, f64::min);
        for score in &record.scores {
            assert_eq!(score.adapter.is_none(), t == 0);
            let novelty = score.adapter.map_or(0.0, |adapter| score.base - adapter);
            assert_eq!((score.score.novelty, score.score.quality), (novelty, score.base));
            assert!((score.score.score - (novelty + 0.5 * score.base)).abs() < 1e-12);
            assert!(score.selected.is_some() || score.score.score <= lowest);
        }
    }
    assert!(
        records[0].update.losses.last() < records[0].update.losses.first()
            || records[0].update.losses.len() == 1
    );

    // What is held out is nowhere.
    let (memories, bank) = UserModel::recall(model(), &store, &ada, None).unwrap().into_parts();
    let learned: Vec<u64> = records
        .iter()
        .flat_map(|r| &r.scores)
        .filter(|s| s.selected.is_some())
        .map(|s| s.seq)
        .collect();
    assert_eq!(memories.buffer.len(), learned.len(), "while it fits, all of the selection stays");
    assert!(memories.buffer.iter().all(|item| learned.contains(&item.key)));
    assert_eq!(memories.calibration.sample.len(), bank.texts().len());
    for period in 1..=3 {
        for member in store.members(&ada, period).unwrap().iter().filter(|m| m.held_out) {
            assert!(
                !learned.contains(&member.stored.seq) && bank.text(member.stored.seq).is_none()
            );
        }
    }

    // The buffer is scored with the new adapter.
    let item = memories.buffer[0];
    let text = &bank.text(item.key).unwrap().interaction;
    let pair = encode_pair(model(), &text.prompt, &text.response, 768).unwrap();
    let scores = model()
        .score(&[(&pair.sequence, None), (&pair.sequence, memories.adapter.as_deref())])
        .unwrap();
    let [base, adapted] = [0, 1].map(|i: usize| spring_core::mean_log_likelihood(&scores[i]));
    assert!((item.quality - base).abs() < 1e-5 && (item.novelty - (base - adapted)).abs() < 1e-5);
    assert!(memories.buffer.is_sorted_by(|a, b| a.score >= b.score));
    assert!(adapt(model(), &store, &ada, THREE, &mut ()).unwrap().is_empty(), "nothing is new");
}

#[test]
fn what_a_learner_holds_is_what_a_state_gives_back() {
    let ada = user("ada");
    let mut dense = config();
    dense.retrieval.retriever = RetrieverKind::Dense;
    let calibrated =
        config().with_changes(&["gate=calibrated", "fusion.lambda=calibrated"]).unwrap();
    let history = calibrated.with_changes(&["buffer.bank=history"]).unwrap();
    let dense_history = dense.with_changes(&["buffer.bank=history", "gate=calibrated"]).unwrap();
    for config in [config(), dense, calibrated, history, dense_history] {
        let store = store(config.clone(), &[("ada", 30)]);
        let planned = store.plan_periods(&ada, 3, 0.2).unwrap();
        adapt(model(), &store, &ada, THREE, &mut ()).unwrap();
        let fresh = UserModel::fresh(model(), config, None).unwrap();
        let mut learner = Learner::new(ada.clone(), fresh, vec![]);
        for PlannedPeriod { number, members, .. } in planned {
            let learnable = members.iter().filter(|member| !member.held_out);
            let texts: Vec<_> = learnable.map(|member| member.stored.clone()).collect();
            let period = Period::new(number, &texts).holding_out(members.len() - texts.len());
            learner.learn(period, &mut ()).unwrap();
            let stored = UserModel::recall(model(), &store, &ada, Some(number)).unwrap();
            assert_eq!(learner.model().memories(), stored.memories());
            assert_eq!(learner.model().bank().texts(), stored.bank().texts());
        }
    }
}

#[test]
fn the_order_of_users_and_other_users_change_nothing() {
    let adapters = |order: &[&str], users: &[(&str, usize)]| {
        let store = store(config(), users);
        for name in order {
            adapt(model(), &store, &user(name), THREE, &mut ()).unwrap();
        }
        order
            .iter()
            .map(|name| store.generation(&user(name), None).unwrap().unwrap())
            .collect::<Vec<_>>()
    };
    let both = adapters(&["ada", "bob"], &[("ada", 12), ("bob", 15)]);
    let reversed = adapters(&["bob", "ada"], &[("bob", 15), ("ada", 12)]);
    assert_eq!((&both[0], &both[1]), (&reversed[1], &reversed[0]));
    assert_eq!(both[0], adapters(&["ada"], &[("ada", 12)])[0]);
    assert_ne!(both[0].adapter, both[1].adapter);
}

#[test]
fn a_stopped_run_resumes_to_the_same_adapter() {
    let ada = user("ada");
    let undisturbed = store(config(), &[("ada", 12)]);
    adapt(model(), &undisturbed, &ada, THREE, &mut ()).unwrap();

    let stopped = store(config(), &[("ada", 12)]);
    let mut second_period = |event: Event<'_>| match event {
        Event::Training { done: 1, .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    let error = adapt(model(), &stopped, &ada, THREE, &mut second_period).unwrap_err();
    assert!(error.is_stopped() && error.to_string().contains("ada"), "{error}");
    assert_eq!(stopped.generation(&ada, None).unwrap(), None);
    let mut after_commit = |event: Event<'_>| match event {
        Event::Committed { .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    assert!(adapt(model(), &stopped, &ada, THREE, &mut after_commit).unwrap_err().is_stopped());
    assert_eq!(stopped.user(&ada).unwrap().generation, 1);
    // The periods that were stored are kept, whatever is asked for now.
    let rest = adapt(model(), &stopped, &ada, Periods::default(), &mut ()).unwrap();
    assert_eq!(rest.len(), 2);
    assert_eq!(
        stopped.generation(&ada, None).unwrap(),
        undisturbed.generation(&ada, None).unwrap()
    );
}

#[test]
fn the_gate_decides_whether_a_second_branch_is_asked() {
    let ada = user("ada");
    let mut config = config();
    config.decoding.max_new_tokens = Some(12);
    let store = store(config.clone(), &[("ada", 30)]);
    adapt(model(), &store, &ada, THREE, &mut ()).unwrap();
    let learned = UserModel::recall(model(), &store, &ada, None).unwrap();
    let under = |config: &Config| learned.clone().with_config(config.clone());
    let write = |config: &Config| under(config).generate("About soup", &mut ()).unwrap();

    let closed = write(&config.clone().with_gate(GateConfig::Never {}));
    assert!(
        !closed.gate.open && closed.trace.is_empty() && closed.retrieved.iter().all(|r| !r.used)
    );
    let open = write(&config.clone().with_gate(GateConfig::Always { k: 2 }));
    assert!(open.gate.open && !open.trace.is_empty());
    assert_eq!(open.retrieved.iter().filter(|r| r.used).count(), 2);
    assert!(open.trace.iter().all(|t| t.lambda == 0.5 && (0.0..=1.0).contains(&t.retrieval_share)));
    let again = write(&config.clone().with_gate(GateConfig::Always { k: 2 }));
    let again = AnswerRecord { time: open.time, ..again };
    assert_eq!(open, again, "greedy decoding repeats itself");

    // How the tokens were chosen is on record; the divergence of the branches where it is asked
    // for.
    let mut traced = config.clone().with_gate(GateConfig::Always { k: 2 });
    traced.fusion.trace_divergence = true;
    traced.decoding.penalties.repetition = 1.5;
    let answer = write(&traced);
    assert_eq!(answer.decoding, Some(traced.decoding.clone()));
    assert!(answer.trace.iter().all(|t| t.divergence.is_some_and(|divergence| divergence > 0.0)));
    assert!(open.trace.iter().all(|t| t.divergence.is_none()));
    assert!(open.trace.iter().all(|t| t.text == model().decode_text(&[t.token]).unwrap()));
    // What older versions wrote has neither.
    let mut older = serde_json::to_value(&answer).unwrap();
    older.as_object_mut().unwrap().remove("decoding");
    for token in older["trace"].as_array_mut().unwrap() {
        token.as_object_mut().unwrap().retain(|key, _| key != "divergence" && key != "text");
    }
    let older: AnswerRecord = serde_json::from_value(older).unwrap();
    assert!(older.decoding.is_none() && older.trace.iter().all(|t| t.divergence.is_none()));

    // λ = 0 is the branch without retrieval, to the bit.
    let mut alone = config.clone().with_gate(GateConfig::Always { k: 2 });
    alone.fusion.lambda = Lambda::Fixed(0.0);
    assert_eq!(write(&alone).text, closed.text);
    let response = encode_pair(model(), "About soup", "ada finds soup dull.", 768).unwrap();
    let fused = under(&alone).score("About soup", &response).unwrap();
    assert!(fused.open);
    assert_eq!(fused.fused, fused.adapter);

    // Probability fusion, by hand: ln(½ p₀ + ½ p₁) lies between the branches.
    let open = under(&config.with_gate(GateConfig::Always { k: 2 }));
    let half = open.score("About soup", &response).unwrap();
    assert_ne!(half.fused, half.adapter);
    assert!(
        half.fused.iter().zip(&half.adapter).all(|(f, a)| *f >= a - std::f32::consts::LN_2 - 1e-5)
    );
}

/// Settings with a contrast.
fn contrasted(config: &Config, weight: f32) -> Config {
    let mut config = config.clone();
    config.fusion.contrast = Some(Contrast::default().with_weight(weight));
    config
}

#[test]
fn the_contrast_with_the_base_comes_before_the_mixture() {
    let ada = user("ada");
    let mut config = config();
    config.decoding.max_new_tokens = Some(12);
    let store = store(config.clone(), &[("ada", 30)]);
    adapt(model(), &store, &ada, THREE, &mut ()).unwrap();
    let learned = UserModel::recall(model(), &store, &ada, None).unwrap();
    let under = |config: &Config| learned.clone().with_config(config.clone());
    let response = encode_pair(model(), "About soup", "ada finds soup dull.", 768).unwrap();
    let score = |config: &Config| under(config).score("About soup", &response).unwrap();
    let write = |config: &Config| {
        let answer = under(config).generate("About soup", &mut ()).unwrap();
        AnswerRecord { time: jiff::Timestamp::UNIX_EPOCH, ..answer }
    };
    let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4);

    let closed = config.clone().with_gate(GateConfig::Never {});
    let open = config.with_gate(GateConfig::Always { k: 2 });
    for (config, is_open) in [(&closed, false), (&open, true)] {
        let plain = score(config);
        assert_eq!(score(&contrasted(config, 0.0)), plain, "no weight, the same bits");
        assert_eq!(write(&contrasted(config, 0.0)), write(config));

        // From the model's own distributions of personal, base and retrieval branch.
        let strong = contrasted(config, 1.5);
        let contrast = strong.fusion.contrast.unwrap();
        let sequence = &response.sequence;
        let retrieval = under(&strong).retrieve("About soup", 0, Some(sequence.response.len()));
        let with = retrieval.unwrap().contexts.retrieval;
        assert_eq!(with.is_some(), is_open);
        let mut branches: Vec<Branch<'_>> =
            vec![(&sequence.context, learned.adapter()), (&sequence.context, None)];
        branches.extend(with.as_ref().map(|with| (with.as_slice(), learned.adapter())));
        let mut expected = Vec::new();
        model()
            .score_branches(&branches, &sequence.response, &mut |position, log_probs| {
                let rows: Vec<&[f32]> =
                    log_probs.rows().into_iter().map(|row| row.to_slice().unwrap()).collect();
                let token = sequence.response[position] as usize;
                let mut out = vec![0.0; rows[0].len()];
                contrast.apply(rows[0], rows[1], &mut out).unwrap();
                let mix = |with: &&[f32]| (0.5 * (out[token].exp() + with[token].exp())).ln();
                expected.push(rows.get(2).map_or(out[token], mix));
                Ok(())
            })
            .unwrap();
        let found = score(&strong);
        assert_eq!((found.open, found.fused.len()), (is_open, expected.len()));
        assert!(close(&found.fused, &expected), "{:?} {expected:?}", found.fused);
        assert!(close(&found.adapter, &plain.adapter), "the adapter alone is what it was");
        assert_ne!(found.fused, plain.fused);
        assert!(found.fused.iter().all(|value| value.is_finite()));

        // What took part is on record, also where nothing was retrieved.
        let answer = write(&strong);
        assert_eq!(answer.fusion, Some(strong.fusion));
        assert_eq!(answer.trace.is_empty(), !is_open);
        assert_eq!(write(config).fusion.is_some(), is_open);

        // What is dropped has no likelihood that could be told, but texts can be written.
        let mut dropped = strong.clone();
        dropped.fusion.contrast = Some(contrast.with_tail(Tail::Drop));
        let error = under(&dropped).score("About soup", &response).unwrap_err();
        let told = error.to_string();
        assert!(matches!(error, Error::Setting(_)) && told.contains("contrast.tail"), "{told}");
        assert_eq!(write(&dropped).fusion, Some(dropped.fusion));
    }

    // λ = 1 is the retrieval branch, whatever the other one is contrasted with.
    let mut retrieval = open.clone();
    retrieval.fusion.lambda = Lambda::Fixed(1.0);
    assert_eq!(write(&contrasted(&retrieval, 1.5)).text, write(&retrieval).text);
    let fused = |config: &Config| score(config).fused;
    assert!(close(&fused(&contrasted(&retrieval, 1.5)), &fused(&retrieval)));
    // λ = 0 is the contrast.
    let mut alone = contrasted(&open, 1.5);
    alone.fusion.lambda = Lambda::Fixed(0.0);
    assert_eq!(write(&alone).text, write(&contrasted(&closed, 1.5)).text);
}

#[test]
fn a_contrast_is_one_row_of_the_base_more() {
    let ada = user("ada");
    let store = store(config(), &[("ada", 30)]);
    adapt(model(), &store, &ada, THREE, &mut ()).unwrap();
    let learned = UserModel::recall(model(), &store, &ada, None).unwrap();
    let gates = [(GateConfig::Never {}, 1), (GateConfig::Always { k: 2 }, 2)];
    for (gate, rows) in gates {
        let plain = config().with_gate(gate);
        let generation = |person: &UserModel<'_>, config: &Config| {
            let person = person.clone().with_config(config.clone());
            TextGeneration::new(&person, "About soup").unwrap()
        };
        let without = generation(&learned, &plain);
        let mut with = generation(&learned, &contrasted(&plain, 0.5));
        assert_eq!((without.row_count(), with.row_count()), (rows, rows + 1));
        assert_eq!(with.prompt_tokens(), without.prompt_tokens() + without.plain_tokens());
        let room = with.most_tokens() - with.prompt_tokens();
        assert_eq!(room % (rows + 1), 0, "each row has room for the answer");
        let branches: Vec<(&[u32], bool)> =
            with.branches().map(|(context, adapter)| (context, adapter.is_some())).collect();
        assert_eq!(branches[rows], (branches[0].0, false), "the base reads the same prompt");
        assert!(branches[..rows].iter().all(|(_, adapted)| *adapted));
        let mut session = model().session().unwrap();
        with.join(&mut *session).unwrap();
        assert_eq!(with.rows().len(), rows + 1);
        let last = with.rows()[rows];
        with.leave(&mut *session);
        assert!(session.log_probs(last).is_none());

        // Who has no adapter is the base, and is contrasted with nothing.
        let nobody = UserModel::fresh(model(), contrasted(&plain, 0.5), None).unwrap();
        let fresh = UserModel::fresh(model(), plain.clone(), None).unwrap();
        assert_eq!(TextGeneration::new(&nobody, "About soup").unwrap().row_count(), 1);
        let answer = |person: &UserModel<'_>| {
            let answer = person.generate("About soup", &mut ()).unwrap();
            AnswerRecord { time: jiff::Timestamp::UNIX_EPOCH, ..answer }
        };
        assert_eq!(answer(&nobody), answer(&fresh));
    }
}

#[test]
fn what_does_not_fit_is_cut_as_the_design_says_and_recorded() {
    let long = "word ".repeat(400);
    // Both too long: half and half, the prompt loses its beginning, the response its end.
    let pair = encode_pair(model(), &long, &long, 100).unwrap();
    assert_eq!((pair.sequence.context.len(), pair.sequence.response.len()), (1 + 49, 50));
    assert!(matches!(pair.cuts[..], [Cut::Prompt { .. }, Cut::Response { .. }]));
    assert_eq!(pair.response_bytes, model().decode_text(&pair.sequence.response).unwrap().len());
    // A short response leaves its room to the prompt, and the other way round.
    let pair = encode_pair(model(), &long, "x", 100).unwrap();
    assert_eq!(pair.sequence.len(), 100);
    assert!(matches!(pair.cuts[..], [Cut::Prompt { .. }]));
    let pair = encode_pair(model(), "x", &long, 100).unwrap();
    assert_eq!(pair.sequence.len(), 100);
    assert!(matches!(pair.cuts[..], [Cut::Response { .. }]));
    let whole = encode_pair(model(), "x", "y", 100).unwrap();
    assert!(
        whole.cuts.is_empty()
            && whole.sequence.response.last() == Some(&2)
            && whole.sequence.context[0] == 1
    );

    let retrieved = |seq: u64, day: i64, text: &'static str| {
        let time = jiff::Timestamp::from_second(day * 86_400).unwrap();
        RetrievedPair::new(seq, time, "p", text)
    };
    let pairs = [retrieved(3, 2, "newer"), retrieved(1, 1, "older")];
    let laid = contexts(model(), "question", &pairs, Some(20)).unwrap();
    let text = model().decode_text(&laid.retrieval.unwrap()).unwrap();
    assert!(text.find("older") < text.find("newer") && text.ends_with("question\n\n"), "{text:?}");
    assert_eq!((laid.used, laid.new_tokens), (vec![3, 1], 20));
    // The context holds 256 tokens: the lower in rank goes first, whole.
    let big: &'static str = Box::leak("word ".repeat(50).into_boxed_str());
    let pairs = [retrieved(3, 2, big), retrieved(1, 1, big)];
    let laid = contexts(model(), "question", &pairs, Some(40)).unwrap();
    assert_eq!((laid.used, laid.cuts), (vec![3], vec![Cut::Retrieved { seq: 1 }]));
    let laid = contexts(model(), &long, &pairs, None).unwrap();
    assert_eq!((laid.plain.len() + laid.new_tokens, laid.new_tokens), (256, 256 / 3));
    assert!(laid.retrieval.is_none());
    // A prompt that was cut before is the same with retrieved texts before it as without.
    let pairs = [retrieved(1, 1, "older")];
    let cut = encode_pair(model(), &long, "x", 60).unwrap();
    assert!(cut.lost_of_prompt() > 0);
    let laid = contexts_of_rest(model(), &long, cut.lost_of_prompt(), &pairs, Some(2)).unwrap();
    assert_eq!(laid.plain, cut.sequence.context);
    let with = laid.retrieval.unwrap();
    let earlier = contexts(model(), "", &pairs, Some(2)).unwrap().retrieval.unwrap();
    let before = with.len() - (cut.sequence.context.len() - 1);
    assert_eq!(
        (&with[..before], &with[before..]),
        (&earlier[..before], &cut.sequence.context[1..])
    );
    assert!(before > 1);
    let laid = contexts(model(), "question", &[], Some(10_000)).unwrap();
    assert!(
        laid.plain.len() >= 2
            && matches!(laid.cuts[..], [Cut::NewTokens { .. }, Cut::Prompt { .. }])
    );
}

/// The small model with a chat template of spring-model's fixtures.
fn chat_model() -> AnyModel {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let dir = tempfile::tempdir().unwrap();
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        std::fs::copy(fixtures.join("tiny-llama").join(name), dir.path().join(name)).unwrap();
    }
    let chat: serde_json::Value =
        serde_json::from_slice(&std::fs::read(fixtures.join("chat.json")).unwrap()).unwrap();
    let config = serde_json::json!({
        "bos_token": "<|begin|>", "eos_token": "<|end|>",
        "chat_template": chat["templates"]["turns"]
    });
    std::fs::write(dir.path().join("tokenizer_config.json"), config.to_string()).unwrap();
    AnyModel::load(&ModelFiles::from_dir(dir.path()).unwrap(), Device::Cpu).unwrap()
}

/// The template's own tokens are never cut: the answer gets what they leave of the context.
#[test]
fn a_limit_near_the_context_leaves_room_for_a_template() {
    let model = chat_model();
    let context = model.info().context;
    let empty = contexts(&model, "", &[], Some(1)).unwrap().plain.len();
    assert!(empty > 3);
    let prompt = "a question of some words ".repeat(20);
    for limit in [1, 100, context - empty, context - 2, context - 1, context, 100_000] {
        let laid = contexts(&model, &prompt, &[], Some(limit)).unwrap();
        assert!(laid.plain.len() + laid.new_tokens <= context, "{limit}: {laid:?}");
        assert!(laid.plain.len() >= empty && laid.new_tokens >= limit.min(context / 2), "{limit}");
        let is_cut = laid.cuts.iter().any(|cut| matches!(cut, Cut::NewTokens { .. }));
        assert_eq!(is_cut, laid.new_tokens < limit, "{limit}");
    }
}

#[test]
fn with_a_chat_template_retrieved_texts_are_earlier_turns() {
    let model = chat_model();
    let text = |ids: &[u32]| model.decode_text(ids).unwrap();
    let pair = encode_pair(&model, "question", "answer", 200).unwrap();
    assert_eq!(text(&pair.sequence.context), "user\nquestion\nassistant\n");
    assert_eq!(
        (text(&pair.sequence.response).as_str(), pair.sequence.response.last()),
        ("answer", Some(&2))
    );

    let time = |day: i64| jiff::Timestamp::from_second(day * 86_400).unwrap();
    let pairs = [
        RetrievedPair::new(2, time(2), "p2", "newer"),
        RetrievedPair::new(1, time(1), "p1", "older"),
    ];
    let laid = contexts(&model, "question", &pairs, Some(20)).unwrap();
    assert_eq!(
        text(&laid.retrieval.unwrap()),
        "user\np1\nassistant\nolder\nuser\np2\nassistant\nnewer\nuser\nquestion\nassistant\n"
    );
    // A long prompt loses its beginning; the template's own text stays whole.
    let long = (0..400).map(|i| format!("{i} ")).collect::<String>();
    let laid = contexts(&model, &long, &pairs, Some(20)).unwrap();
    let plain = text(&laid.plain);
    assert!(laid.plain.len() <= 236 && laid.retrieval.is_none(), "{}", laid.plain.len());
    assert!(plain.starts_with("user\n") && plain.ends_with("398 399\nassistant\n"), "{plain}");
    assert!(matches!(laid.cuts[0], Cut::Prompt { .. }));
    let pair = encode_pair(&model, &long, "answer", 100).unwrap();
    assert!(pair.sequence.len() <= 100 && pair.sequence.response.last() == Some(&2));
    let laid =
        contexts_of_rest(&model, &long, pair.lost_of_prompt(), &pairs[1..], Some(20)).unwrap();
    assert_eq!(laid.plain, pair.sequence.context);
    let (with, plain) = (text(&laid.retrieval.unwrap()), text(&laid.plain));
    assert_eq!(with, format!("user\np1\nassistant\nolder\n{plain}"));
    assert_ne!(model.info().fingerprint, common_fingerprint());
}

/// The same files without the template.
fn common_fingerprint() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama");
    ModelFiles::from_dir(folder).unwrap().fingerprint().unwrap()
}

#[test]
fn a_gate_that_keeps_many_still_sees_the_runner_up() {
    let ada = user("ada");
    let store = store(config(), &[("ada", 30)]);
    adapt(model(), &store, &ada, Periods::default(), &mut ()).unwrap();
    let ada = UserModel::recall(model(), &store, &ada, None).unwrap();
    for (k, found) in [(2, 16), (15, 16), (16, 17), (20, 21), (29, 30), (usize::MAX, 30)] {
        let config = config().with_gate(GateConfig::Margin { margin: 0.0, k });
        let retrieval = ada.clone().with_config(config).retrieve("About soup", 0, Some(4)).unwrap();
        assert_eq!(retrieval.found.len(), found, "{k}");
        let reason = &retrieval.gate.reason;
        assert_eq!(reason.contains("the runner-up's"), k < 30, "{k}: {reason}");
    }
}

/// The signal is a function of the records, and begins where there is an adapter.
#[test]
fn the_drift_signal_runs_over_the_periods() {
    let store = store(config(), &[("ada", 30)]);
    let ada = user("ada");
    let learned = adapt(model(), &store, &ada, THREE, &mut ()).unwrap();
    let signals = drift_signal(SignalConfig::default(), &learned).unwrap();
    assert_eq!(
        signals.iter().map(|s| (s.period, s.generation)).collect::<Vec<_>>(),
        [(2, 2), (3, 3)]
    );
    assert_eq!(signals.iter().map(|s| s.reading.seen).collect::<Vec<_>>(), [8, 16]);
    let novelties: Vec<f64> = learned.iter().flat_map(|period| novelties(&period.record)).collect();
    let mean = novelties.iter().sum::<f64>() / 16.0;
    let (low, high) = signals[1].reading.band.unwrap();
    assert!((signals[1].reading.mean - mean).abs() < 1e-9 && low < mean && mean < high);
    assert_eq!(drift_signal(SignalConfig::default(), &learned[..2]).unwrap(), signals[..1]);
    let short = SignalConfig::default().with_window(4);
    let last = novelties[12..].iter().sum::<f64>() / 4.0;
    assert!((drift_signal(short, &learned).unwrap()[1].reading.mean - last).abs() < 1e-9);

    // A rise that the records tell is told.
    let mut risen = learned.clone();
    for score in &mut risen[2].record.scores {
        score.base += 5.0;
    }
    let quick = "page_hinkley".parse::<DetectorConfig>().unwrap();
    let DetectorConfig::PageHinkley { tolerance, threshold, .. } = quick else {
        panic!("{quick:?}")
    };
    let detector = DetectorConfig::PageHinkley { tolerance, threshold, warm_up: 5 };
    let signals = drift_signal(SignalConfig::default().with_detector(detector), &risen).unwrap();
    assert!(!signals[0].reading.drifting && signals[1].reading.drifting, "{signals:?}");
    assert!(signals[1].reading.evidence.contains("novelty rose"), "{signals:?}");
}

#[test]
fn settings_read_back_and_unknown_keys_are_refused() {
    let text = "[drift]\nscorer = { kind = \"spring\", alpha = \"inf\" }\n[gate]\nkind \
                = \"fixed\"\nthreshold = 2.0\n";
    let config = Config::from_toml(text, "spring.toml").unwrap();
    assert!(
        format!("{:?}", config.drift.scorer).contains("inf")
            && Alpha::QUALITY_ONLY.finite().is_none()
    );
    let json = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<Config>(&json).unwrap(), config);
    for (bad, word) in [
        ("[training]\nlearning_rate = -1.0", "learning_rate"),
        ("[lora]\nrank = 0", "rank"),
        ("[gate]\nkind = \"quantile\"\nquantil = 0.5", "quantil"),
        ("nonsense = 1", "nonsense"),
        ("[bm25]\nb = 7.0", "b"),
        ("[gate]\nkind = \"quantile\"\nquantile = 7.0", "quantile"),
        ("[drift]\nselection = { kind = \"top_fraction\", fraction = 3.0 }", "fraction"),
        ("[fusion]\nlambda = 2.0", "lambda"),
        ("[decoding]\nsampler = { temperature = -1.0 }", "temperature"),
        ("[retrieval]\nretriever = \"bm52\"", "bm52"),
        ("[retrieval]\ntemplate_share = 0.0", "template_share"),
        ("[search]\ndense = { links = 1 }", "links"),
        ("[drift]\nsignal = { window = 1 }", "window"),
        ("[drift]\nscorer = { kind = \"lookahead\", recent = 0 }", "drift.scorer.recent"),
        ("[drift]\nreference = \"domain\"", "population"),
        ("[training]\ntoken_weights = \"heavy\"", "unrecalled"),
        ("[lora", "spring.toml"),
    ] {
        let error = Config::from_toml(bad, "spring.toml").unwrap_err().to_string();
        assert!(error.contains(word) && error.contains("spring.toml"), "{error}");
    }
    // One error, whether it was in a file or in a change.
    let change = "training.learning_rate = -1.0";
    for (error, origin) in [
        (Config::from_toml("[training]\nlearning_rate = -1.0", "spring.toml"), "spring.toml"),
        (config.with_changes(&[change]), change),
    ] {
        let Err(spring_store::Error::Setting(error)) = error else { panic!("{error:?}") };
        assert_eq!(error.name, "training.learning_rate");
        assert_eq!(error.origin.as_deref(), Some(origin));
    }
    // The documented defaults are the defaults.
    let docs =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats.md"))
            .unwrap();
    let blocks = docs.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let block = blocks.into_iter().find(|block| block.contains("[drift]")).unwrap();
    assert_eq!(Config::from_toml(block, "docs/formats.md").unwrap(), Config::default());
    // And all of them are there.
    let documented: toml::Table = block.parse().unwrap();
    for (section, keys) in toml::Table::try_from(Config::default()).unwrap() {
        for key in keys.as_table().into_iter().flat_map(toml::Table::keys) {
            // Those without a value of their own are named below the list.
            let is_named = docs.contains(&format!("`{section}.{key}`"));
            let is_listed = documented[&section].get(key).is_some();
            assert!(is_listed || is_named, "{section}.{key} is missing");
        }
    }
}
