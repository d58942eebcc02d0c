//! Rows that are decoded in any company, bit for bit.

#![cfg(feature = "cpu")]
#![allow(clippy::unwrap_used)]

mod gguf_files;

use std::{collections::BTreeMap, ops::ControlFlow, path::Path, sync::Arc};

use burn::backend::Flex;
use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use safetensors::{Dtype, tensor::TensorView};
use spring_model::{
    Adapter, AdapterHash, CausalLm, DecodingSession, LoraConfig, ModelError, ModelFiles,
    Projection, RowId, Sequence, Session, TrainConfig, TrainRequest, Workers,
};

fn fixture(name: &str) -> CausalLm<Flex> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    CausalLm::load(&ModelFiles::from_dir(dir).unwrap(), Default::default()).unwrap()
}

/// Random weights, large enough that a pass that is alone shares its products between threads.
fn wide() -> CausalLm<Flex> {
    random(serde_json::Value::Null)
}

/// The same with other frequencies for texts of more than 32 tokens.
fn longrope() -> CausalLm<Flex> {
    stretched(1.0, 3.0)
}

/// The same with its wavelengths multiplied by one factor in short texts and another in longer
/// ones.
fn stretched(short: f64, long: f64) -> CausalLm<Flex> {
    random(serde_json::json!({
        "rope_type": "longrope", "original_max_position_embeddings": 32,
        "short_factor": vec![short; 32], "long_factor": vec![long; 32]
    }))
}

fn random(rope: serde_json::Value) -> CausalLm<Flex> {
    const WIDTH: usize = 256;
    const INNER: usize = 1040;
    const VOCABULARY: usize = 1100;
    let config = serde_json::json!({
        "model_type": "llama", "vocab_size": VOCABULARY, "hidden_size": WIDTH,
        "num_hidden_layers": 1,
        "intermediate_size": INNER, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 256, "tie_word_embeddings": true, "rope_scaling": rope
    });
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut tensors = Vec::new();
    let mut add = |name: String, shape: Vec<usize>| {
        let count = shape.iter().product();
        let range = if name.ends_with("norm.weight") { 0.9..1.1 } else { -0.1..0.1f32 };
        let numbers = (0..count).flat_map(|_| rng.random_range(range.clone()).to_le_bytes());
        tensors.push((name, shape, numbers.collect::<Vec<u8>>()));
    };
    add("model.embed_tokens.weight".into(), vec![VOCABULARY, WIDTH]);
    add("model.norm.weight".into(), vec![WIDTH]);
    for norm in ["input_layernorm", "post_attention_layernorm"] {
        add(format!("model.layers.0.{norm}.weight"), vec![WIDTH]);
    }
    for (name, d_out, d_in) in [
        ("self_attn.q_proj", WIDTH, WIDTH),
        ("self_attn.k_proj", WIDTH / 2, WIDTH),
        ("self_attn.v_proj", WIDTH / 2, WIDTH),
        ("self_attn.o_proj", WIDTH, WIDTH),
        ("mlp.gate_proj", INNER, WIDTH),
        ("mlp.up_proj", INNER, WIDTH),
        ("mlp.down_proj", WIDTH, INNER),
    ] {
        add(format!("model.layers.0.{name}.weight"), vec![d_out, d_in]);
    }
    let views = tensors.iter().map(|(name, shape, bytes)| {
        (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    });
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    let weights = safetensors::serialize(views, None).unwrap();
    std::fs::write(dir.path().join("model.safetensors"), weights).unwrap();
    CausalLm::load(&ModelFiles::from_dir(dir.path()).unwrap(), Default::default()).unwrap()
}

/// The blocks of a GGUF file, of the same widths, so that products are shared between threads.
fn quantised() -> CausalLm<Flex> {
    let shape =
        gguf_files::Shape { layers: 1, width: 256, inner: 1056, head: 64, ..gguf_files::SMALL };
    let twins = gguf_files::twins("llama", shape, 5);
    CausalLm::load(&ModelFiles::open(&twins.gguf).unwrap(), Default::default()).unwrap()
}

/// Trained for a step, so that both factors are other than zero; of different ranks and targets.
fn adapters(model: &CausalLm<Flex>) -> Vec<Arc<Adapter>> {
    let train = |seed: u64| {
        let lora = LoraConfig::default().with_rank([4, 8, 20][seed as usize % 3]).with_targets(
            match seed % 2 {
                0 => Projection::ALL.to_vec(),
                _ => LoraConfig::default().targets,
            },
        );
        let ids =
            |from: u64| (0..6).map(|i| 3 + ((from + seed * 11 + i * 7) % 90) as u32).collect();
        let example = Sequence { context: ids(0), response: ids(50) };
        let config = TrainConfig::default().with_epochs(1).with_learning_rate(0.05);
        let examples = [example];
        let request = TrainRequest::new(&lora, &examples, &config, seed);
        let follow = &mut |_| ControlFlow::Continue(());
        model.train(request, follow).unwrap().adapter
    };
    (0..5).map(|seed| Arc::new(train(seed))).collect()
}

struct Writer {
    context: Vec<u32>,
    adapter: Option<Arc<Adapter>>,
    tokens: Vec<u32>,
}

fn writers(rng: &mut ChaCha8Rng, adapters: &[Arc<Adapter>], count: usize) -> Vec<Writer> {
    let ids = |rng: &mut ChaCha8Rng, count: usize| -> Vec<u32> {
        (0..count).map(|_| rng.random_range(3..96)).collect()
    };
    (0..count)
        .map(|_| {
            let length = rng.random_range(1..60);
            let adapter = adapters.choose(rng).filter(|_| rng.random_bool(0.8));
            // The same adapter behind another handle is the same adapter.
            let adapter = adapter.map(|adapter| match rng.random_bool(0.5) {
                true => adapter.clone(),
                false => Arc::new(Adapter::clone(adapter)),
            });
            let steps = rng.random_range(1..20);
            Writer { context: ids(rng, length), adapter, tokens: ids(rng, steps) }
        })
        .collect()
}

fn bits(log_probs: &[f32]) -> Vec<u32> {
    log_probs.iter().map(|x| x.to_bits()).collect()
}

/// Every distribution of a row that has the session for itself.
fn alone(model: &Arc<CausalLm<Flex>>, writer: &Writer) -> Vec<Vec<u32>> {
    let mut session = model.session();
    let adapter = writer.adapter.clone();
    let row = session.join(&writer.context, adapter, writer.tokens.len()).unwrap();
    let mut seen = vec![bits(session.log_probs(row).unwrap())];
    for token in &writer.tokens {
        session.step(&[(row, *token)]).unwrap();
        seen.push(bits(session.log_probs(row).unwrap()));
    }
    seen
}

/// Rows join, stand still, move and leave at random; gives the largest number in one pass.
fn in_company(
    model: &Arc<CausalLm<Flex>>,
    rng: &mut ChaCha8Rng,
    writers: &[Writer],
    expected: &[Vec<Vec<u32>>],
) -> usize {
    let mut session = model.session();
    let (mut live, mut waiting) = (BTreeMap::<RowId, (usize, usize)>::new(), 0..writers.len());
    let mut most = 0;
    loop {
        while live.len() < 3 || rng.random_bool(0.7) {
            let Some(i) = waiting.next() else { break };
            let Writer { context, adapter, tokens } = &writers[i];
            let row = session.join(context, adapter.clone(), tokens.len()).unwrap();
            assert_eq!(bits(session.log_probs(row).unwrap()), expected[i][0], "row {i} joins");
            live.insert(row, (i, 0));
        }
        if live.is_empty() {
            return most;
        }
        let mut step: Vec<(RowId, u32)> = Vec::new();
        for (row, (i, done)) in &live {
            if rng.random_bool(0.8) {
                step.push((*row, writers[*i].tokens[*done]));
            }
        }
        session.step(&step).unwrap();
        most = most.max(step.len());
        for (row, _) in &step {
            let Some((i, done)) = live.get_mut(row) else { continue };
            *done += 1;
            let ours = bits(session.log_probs(*row).unwrap());
            assert_eq!(ours, expected[*i][*done], "row {i} after {done} of {} rows", step.len());
        }
        for row in live.keys().copied().collect::<Vec<_>>() {
            let (i, done) = live[&row];
            if done == writers[i].tokens.len() || rng.random_bool(0.02) {
                session.leave(row);
                assert_eq!(session.log_probs(row), None);
                live.remove(&row);
            }
        }
    }
}

type Make = fn() -> CausalLm<Flex>;

/// Models with windows, norms of heads, and products that are shared between threads, among others.
const MODELS: [(&str, Make); 6] = [
    ("longrope", longrope),
    ("tiny-llama", || fixture("tiny-llama")),
    ("gemma3", || fixture("parity/gemma3")),
    ("qwen3", || fixture("parity/qwen3")),
    ("wide", wide),
    ("quantised", quantised),
];

#[test]
fn a_row_is_the_same_in_any_company_and_for_any_number_of_threads() {
    for (name, load) in MODELS {
        let one = Arc::new(load().with_workers(Workers::new(1)));
        let adapters = adapters(&one);
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let writers = writers(&mut rng, &adapters, 40);
        let expected: Vec<_> = writers.iter().map(|writer| alone(&one, writer)).collect();
        for threads in [1, 2, 7] {
            let model = Arc::new(load().with_workers(Workers::new(threads)));
            let most = in_company(&model, &mut rng, &writers, &expected);
            // Above the number from which a general product would be faster.
            assert!(most > 16, "{name}: at most {most} rows at a time");
        }
    }
}

/// The branches of one answer are rows like any other.
#[test]
fn branches_that_join_together_are_the_same_in_any_company() {
    let model = Arc::new(fixture("parity/gemma3"));
    let adapters = adapters(&model);
    let contexts: [Vec<u32>; 2] = [(3..10).collect(), (5..70).collect()];
    let contexts = [&contexts[0][..], &contexts[1]];
    let run = |session: &mut DecodingSession<Flex>, others: &[RowId]| {
        let rows = session.join_branches(&contexts, Some(&adapters[1]), 3).unwrap();
        let mut seen = Vec::new();
        for token in [20, 30, 40] {
            seen.extend(rows.iter().map(|row| session.log_probs(*row).unwrap().to_vec()));
            let all = rows.iter().chain(others).map(|row| (*row, token));
            session.step(&all.collect::<Vec<_>>()).unwrap();
        }
        assert!(session.step(&[(rows[0], 5)]).is_err(), "there is no room left");
        seen
    };
    let alone = run(&mut model.session(), &[]);
    let mut session = model.session();
    let others: Vec<RowId> = (0..20)
        .map(|i| session.join(&[3 + i, 50], Some(adapters[i as usize % 5].clone()), 3).unwrap())
        .collect();
    let beside = run(&mut session, &others);
    let all_bits = |seen: &[Vec<f32>]| seen.iter().map(|x| bits(x)).collect::<Vec<_>>();
    assert_eq!(all_bits(&alone), all_bits(&beside));

    let mut session = model.session();
    let row = session.join(contexts[0], Some(adapters[1].clone()), 3).unwrap();
    for (i, token) in [20, 30, 40].into_iter().enumerate() {
        assert_eq!(bits(session.log_probs(row).unwrap()), bits(&alone[2 * i]));
        session.step(&[(row, token)]).unwrap();
    }
    assert!(session.join_branches(&[&[1], &[]], None, 1).is_err());
    assert!(session.join_branches(&[&[1, 2], &[3000]], None, 1).is_err());
    session.leave(row);
    assert!(session.step(&[(row, 1)]).is_err());
}

/// Long contexts, whose parts others' steps come between.
#[test]
fn a_context_that_is_read_between_others_steps_is_the_same() {
    let model = Arc::new(fixture("tiny-llama").with_tokens_at_once(16));
    let adapters = adapters(&model);
    let contexts: [Vec<u32>; 2] = [(3..10).collect(), (5..80).collect()];
    let contexts = [&contexts[0][..], &contexts[1]];
    let follow = |session: &mut DecodingSession<Flex>, rows: &[RowId]| {
        let mut seen = Vec::new();
        for token in [20, 30] {
            seen.extend(rows.iter().map(|row| bits(session.log_probs(*row).unwrap())));
            session.step(&rows.iter().map(|row| (*row, token)).collect::<Vec<_>>()).unwrap();
        }
        seen
    };
    let mut session = model.session();
    let rows = session.join_branches(&contexts, Some(&adapters[0]), 2).unwrap();
    let expected = follow(&mut session, &rows);

    let mut session = model.session();
    let other = session.join(&[1, 30], Some(adapters[1].clone()), 40).unwrap();
    let rows = session.begin_branches(&contexts, Some(&adapters[0]), 2).unwrap();
    let mut parts = 0;
    for row in &rows {
        assert_eq!(session.log_probs(*row), None);
        let too_early = session.step(&[(*row, 5)]).unwrap_err().to_string();
        assert!(too_early.contains("to read first"), "{too_early}");
        assert!(session.read(*row, &[5]).is_err());
        loop {
            let left = session.read_on(*row).unwrap();
            session.step(&[(other, 7)]).unwrap();
            parts += 1;
            if left == 0 {
                break;
            }
        }
        assert_eq!(session.read_on(*row).unwrap(), 0);
    }
    assert_eq!(parts, 1 + 5);
    assert_eq!(follow(&mut session, &rows), expected);
    session.leave(rows[0]);
    assert!(session.read_on(rows[0]).is_err());
}

/// What a row gives for some tokens, and then for these.
fn follow(session: &mut DecodingSession<Flex>, row: RowId) -> Vec<Vec<u32>> {
    let next = |token| {
        let seen = bits(session.log_probs(row).unwrap());
        session.step(&[(row, token)]).unwrap();
        seen
    };
    [20, 30, 40, 25].into_iter().map(next).collect()
}

#[test]
fn a_row_that_begins_behind_kept_parts_or_is_a_fork_gives_the_same_bits() {
    let alike = MODELS.into_iter().filter(|(name, _)| *name != "longrope");
    for ((name, load), threads) in alike.zip([1, 2, 7, 2, 1]) {
        let model = load().with_tokens_at_once(16).with_workers(Workers::new(threads));
        let model = Arc::new(model);
        let adapter = adapters(&model)[1].clone();
        let context: Vec<u32> = (0..90).map(|i| 3 + (i * 7) % 50).collect();
        let longer: Vec<u32> = context[..70].iter().copied().chain(3..40).collect();
        let expected: Vec<_> = [&context, &longer]
            .map(|context| {
                let mut session = model.session();
                let row = session.join(context, Some(adapter.clone()), 4).unwrap();
                follow(&mut session, row)
            })
            .to_vec();

        let mut session = model.session();
        let part_length = session.part_length().unwrap();
        assert_eq!(part_length, 16);
        let first = session.join(&context, Some(adapter.clone()), 4).unwrap();
        let fork = session.fork(first).unwrap().unwrap();
        let parts: Vec<_> = (0..).map_while(|i| session.part(first, i)).collect();
        assert_eq!(parts.len(), 90 / 16, "{name}");
        assert!(parts[0].bytes() > 0 && parts.iter().all(|p| p.bytes() == parts[0].bytes()));
        assert_eq!(follow(&mut session, first), expected[0], "{name}: parts are copies");
        session.leave(first);
        assert_eq!(follow(&mut session, fork), expected[0], "{name}: a fork");
        let room = session.step(&[(fork, 5)]);
        assert!(room.is_err(), "a fork has no more room than the row that it is of");

        for (context, expected) in [(&context, &expected[0]), (&longer, &expected[1])] {
            // Both begin with the same 70 tokens.
            for count in 1..=70 / part_length {
                let contexts: [&[u32]; 1] = [context];
                let row = session.begin_branches(&contexts, Some(&adapter), 4).unwrap()[0];
                session.begin_behind(row, &parts[..count]).unwrap();
                while session.read_on(row).unwrap() > 0 {}
                // What was read behind them is what others can begin with, too.
                assert!(session.part(row, context.len() / 16 - 1).is_some());
                assert!(session.part(row, context.len() / 16).is_none());
                assert_eq!(follow(&mut session, row), *expected, "{name} behind {count}");
                session.leave(row);
            }
        }
    }
}

/// A short text, and a long one that begins with it.
fn short_and_long() -> [Vec<u32>; 2] {
    let short: Vec<u32> = (3..30).collect();
    let long = short.iter().copied().chain(40..100).collect();
    [short, long]
}

/// Whatever part of it a pass reads.
#[test]
fn a_context_is_read_with_the_frequencies_of_its_own_whole_length() {
    let models = [longrope(), stretched(1.0, 1.0), stretched(3.0, 3.0)];
    let [model, near, far] = models.map(|model| Arc::new(model.with_tokens_at_once(16)));
    let [short, long] = short_and_long();
    let alone = |model: &Arc<CausalLm<Flex>>, context: &[u32]| {
        let mut session = model.session();
        let row = session.join(context, None, 4).unwrap();
        follow(&mut session, row)
    };
    assert_eq!(alone(&model, &short), alone(&near, &short));
    assert_eq!(alone(&model, &long), alone(&far, &long));
    assert_ne!(alone(&near, &long), alone(&far, &long));

    // What a short text has read is not what a long one reads.
    let mut session = model.session();
    let row = session.join(&short, None, 1).unwrap();
    let part = session.part(row, 0).unwrap();
    let other = session.begin_branches(&[&short[..20]], None, 1).unwrap()[0];
    assert_eq!(session.begin_behind(other, std::slice::from_ref(&part)).unwrap(), 1);
    let row = session.begin_branches(&[&long[..]], None, 4).unwrap()[0];
    assert_eq!(session.begin_behind(row, &[part]).unwrap(), 0);
    while session.read_on(row).unwrap() > 0 {}
    assert!(session.part(row, 0).is_none());
    assert_eq!(follow(&mut session, row), alone(&far, &long));
}

/// A short text beside a long one in one pass.
#[test]
fn texts_are_scored_embedded_and_learned_with_the_frequencies_of_their_own_lengths() {
    let (model, near, far) = (longrope(), stretched(1.0, 1.0), stretched(3.0, 3.0));
    let close = |found: &[f32], wanted: &[f32]| {
        assert_eq!(found.len(), wanted.len());
        for (found, wanted) in found.iter().zip(wanted) {
            assert!((found - wanted).abs() < 1e-4, "{found} {wanted}");
        }
    };
    let texts = short_and_long();
    let sequences = texts
        .each_ref()
        .map(|text| Sequence { context: text[..5].to_vec(), response: text[5..].to_vec() });
    let score = |model: &CausalLm<Flex>, which: &[usize]| {
        let rows: Vec<_> = which.iter().map(|i| (&sequences[*i], None)).collect();
        model.score(&rows).unwrap()
    };
    let wanted = [score(&near, &[0]).remove(0), score(&far, &[1]).remove(0)];
    let other = score(&far, &[0]).remove(0);
    assert!(other.iter().zip(&wanted[0]).any(|(a, b)| (a - b).abs() > 1e-3));
    let found = score(&model, &[0, 1]);
    close(&found[0], &wanted[0]);
    close(&found[1], &wanted[1]);

    let embed = |model: &CausalLm<Flex>, texts: &[Vec<u32>]| model.embed(texts).unwrap();
    let found = embed(&model, &texts);
    for (row, model) in [&near, &far].into_iter().enumerate() {
        let wanted = embed(model, &texts[row..=row]);
        close(&found.row(row).to_vec(), &wanted.row(0).to_vec());
    }

    // Before its first step an adapter changes nothing, so that step's loss is the base's.
    let mean = wanted.concat().iter().sum::<f32>() / wanted.concat().len() as f32;
    for layers in [false, true] {
        let config = TrainConfig::default()
            .with_epochs(1)
            .with_batch_size(2)
            .with_loss_interval(1)
            .with_checkpoint_layers(layers);
        let lora = LoraConfig::default();
        let request = TrainRequest::new(&lora, &sequences, &config, 1);
        let outcome = model.train(request, |_| ControlFlow::Continue(())).unwrap();
        close(&outcome.losses[..1], &[-mean]);
    }
}

#[test]
fn only_a_row_that_has_read_nothing_begins_behind_parts() {
    let model = Arc::new(fixture("tiny-llama").with_tokens_at_once(8));
    let mut session = model.session();
    let context: Vec<u32> = (3..35).collect();
    let row = session.join(&context, None, 1).unwrap();
    let parts: Vec<_> = (0..4).map(|i| session.part(row, i).unwrap()).collect();
    assert!(session.begin_behind(row, &parts[..1]).is_err(), "it has read its context");
    assert!(session.begin_behind(RowId(99), &parts[..1]).is_err());
    let new = session.begin_branches(&[&context[..]], None, 1).unwrap()[0];
    assert!(session.begin_behind(new, &parts).is_err(), "nothing would be left to read");
    assert!(session.fork(new).is_err(), "it has not read its context");
    assert!(session.part(new, 0).is_none());
    let foreign = spring_model::ContextPart::new("something else", 1);
    assert!(session.begin_behind(new, &[foreign]).is_err());
    let other = Arc::new(fixture("tiny-llama").with_tokens_at_once(16));
    let mut other = other.session();
    let long = other.join(&context, None, 1).unwrap();
    let part = other.part(long, 0).unwrap();
    assert!(session.begin_behind(new, &[part]).is_err(), "a part of another length");
    session.begin_behind(new, &parts[..3]).unwrap();
    assert_eq!(session.read_on(new).unwrap(), 0);

    // What was read in odd pieces is no part that another row would read.
    let odd = session.open(None, 40).unwrap();
    session.read(odd, &context[..8]).unwrap();
    session.read(odd, &context[8..11]).unwrap();
    session.read(odd, &context[11..]).unwrap();
    assert!(session.part(odd, 0).is_some());
    assert!(session.part(odd, 1).is_none());
}

#[test]
fn a_session_outlives_its_model_and_moves_to_another_thread() {
    let model = Arc::new(fixture("tiny-llama"));
    let expected = model.session().join(&[1, 30, 31], None, 1).unwrap();
    let mut session: Box<dyn Session> = Box::new(model.session());
    drop(model);
    let moved = std::thread::spawn(move || {
        let row = session.join(&[1, 30, 31], None, 1).unwrap();
        (row, session.log_probs(row).unwrap().len())
    });
    assert_eq!(moved.join().unwrap(), (expected, 320));
}

#[test]
fn an_adapter_is_on_the_device_once_and_only_while_it_is_used() {
    let model = Arc::new(fixture("tiny-llama"));
    let adapters = adapters(&model);
    let twin = Arc::new(Adapter::clone(&adapters[0]));
    assert_eq!(AdapterHash::of(&adapters[0]), AdapterHash::of(&twin));
    assert_ne!(AdapterHash::of(&adapters[0]), AdapterHash::of(&adapters[1]));

    let copy = model.resident(&adapters[0]).unwrap();
    assert!(Arc::ptr_eq(&copy, &model.resident(&twin).unwrap()));
    assert!(!Arc::ptr_eq(&copy, &model.resident(&adapters[1]).unwrap()));

    let mut session = model.session();
    let rows = [&adapters[0], &twin].map(|a| session.join(&[1], Some(a.clone()), 1).unwrap());
    let watched = Arc::downgrade(&copy);
    drop(copy);
    session.leave(rows[0]);
    assert!(watched.upgrade().is_some(), "a row still uses it");
    session.leave(rows[1]);
    assert!(watched.upgrade().is_none(), "nobody uses it");
}

#[test]
fn a_step_that_fails_moves_no_row() {
    let model = Arc::new(fixture("tiny-llama"));
    let mut session = model.session();
    let long = session.join(&[1, 30], None, 2).unwrap();
    let short = session.join(&[1, 40], None, 0).unwrap();
    let before = [long, short].map(|row| session.log_probs(row).unwrap().to_vec());
    let gone = session.join(&[1], None, 1).unwrap();
    session.leave(gone);
    session.leave(gone);
    for bad in [
        &[(long, 5), (short, 5)][..],
        &[(long, 5), (long, 6)],
        &[(long, 5), (gone, 5)],
        &[(long, 320)],
    ] {
        assert!(matches!(session.step(bad), Err(ModelError::Sequence(_))), "{bad:?}");
    }
    session.step(&[]).unwrap();
    assert_eq!([long, short].map(|row| session.log_probs(row).unwrap().to_vec()), before);
    session.step(&[(long, 5)]).unwrap();
    session.step(&[(long, 6)]).unwrap();
    assert!(session.step(&[(long, 7)]).is_err(), "its room is used up");

    // A row may also be read in parts of the caller's choice.
    let row = session.open(None, 3).unwrap();
    assert_eq!(session.log_probs(row), None);
    session.read(row, &[1]).unwrap();
    session.read(row, &[30]).unwrap();
    assert_eq!(bits(session.log_probs(row).unwrap()), bits(&before[0]));
    assert!(session.read(row, &[5, 6]).is_err(), "there is room for one");
    let other = Adapter::init(&LoraConfig::default(), model.config(), "another base", 1).unwrap();
    assert!(matches!(session.open(Some(Arc::new(other)), 3), Err(ModelError::Adapter { .. })));
}
