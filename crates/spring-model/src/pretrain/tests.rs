//! Training of all parameters: its gradient against a plain composition, and what is saved.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use burn::{backend::Flex, tensor::activation::log_softmax};

use super::*;

const FAMILIES: [&str; 5] = ["llama3-rope", "mistral", "qwen2-shards", "qwen3", "gemma3"];

fn config(family: &str) -> Vec<u8> {
    let here = std::env::var("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").into());
    fs::read(PathBuf::from(here).join("tests/fixtures/parity").join(family).join("config.json"))
        .unwrap()
}

/// Random weights, larger than those that training starts from, so that no gradient is lost in
/// rounding.
fn model(family: &str) -> CausalLm<Flex> {
    let mut model = CausalLm::<Flex>::init(&config(family), 5, Default::default()).unwrap();
    let mut rng = key::stream(3, 0);
    for (_, parameter) in model.transformer.parameters_mut() {
        let [rows, columns] = parameter.val().dims();
        let noise: Vec<f32> = (0..rows * columns).map(|_| rng.random_range(-0.2..0.2)).collect();
        let noise = Tensor::from_data(TensorData::new(noise, [rows, columns]), &Default::default());
        *parameter = Param::initialized(parameter.id, parameter.val() + noise);
    }
    model
}

/// Rows of several lengths, some with more than one token of context.
fn batch(number: u32) -> Vec<Sequence> {
    let ids =
        |from: u32, count: u32| (from..from + count).map(|i| (i * 31 + number * 7) % 90).collect();
    let row = |context, response| Sequence {
        context: ids(context + response, context),
        response: ids(context, response),
    };
    vec![row(1, 9), row(4, 3), row(1, 2), row(2, 6)]
}

fn trainer(model: CausalLm<Flex>, steps: usize) -> Pretrainer<Flex> {
    let config = PretrainConfig { learning_rate: 0.01, steps, ..PretrainConfig::default() };
    Pretrainer::new(model, &config).unwrap()
}

fn weights(trainer: &Pretrainer<Flex>) -> Vec<(String, Vec<f32>)> {
    let mut transformer = trainer.model.transformer.clone();
    let all = transformer.parameters_mut().into_iter();
    all.map(|(name, parameter)| (name, to_host(parameter.val()).unwrap())).collect()
}

#[test]
fn the_gradient_of_every_parameter_equals_the_plain_one() {
    for family in FAMILIES {
        let trainer = trainer(model(family), 1);
        let rows = batch(0);
        let rows: Vec<&Sequence> = rows.iter().collect();
        let (loss, gradients) = trainer.gradients(&rows, 0.05);

        let mut tracked =
            Transformer::<Autodiff<Flex>>::from_inner(trainer.model.transformer.clone());
        for (_, parameter) in tracked.parameters_mut() {
            *parameter = Param::initialized(parameter.id, parameter.val().require_grad());
        }
        let batch = Batch::<Autodiff<Flex>>::new(&rows, &Default::default());
        let count = batch.targets.dims()[0];
        let hidden =
            tracked.forward(batch.inputs, &batch.lengths, &LoraRows::new(&vec![None; rows.len()]));
        let logits = tracked.head().logits(hidden.select(0, batch.positions));
        let plain = log_softmax(logits, 1)
            .gather(1, batch.targets.reshape([count, 1]))
            .sum()
            .mul_scalar(-0.05);
        let mut found = plain.backward();

        let plain_loss = plain.inner().into_scalar();
        assert!((loss.into_scalar() - plain_loss).abs() < 1e-5 * plain_loss, "{family}");
        let parameters = tracked.parameters_mut();
        assert_eq!(parameters.len(), gradients.len());
        for ((name, parameter), gradient) in parameters.into_iter().zip(gradients) {
            let plain = parameter.val().grad_remove(&mut found).unwrap();
            let largest = plain.clone().abs().max().into_scalar();
            let apart = (gradient.unwrap() - plain).abs().max().into_scalar();
            assert!(largest > 0.0, "{family}, {name}: no gradient");
            assert!(
                apart < 1e-5 * largest.max(1.0),
                "{family}, {name}: {apart} apart of {largest}"
            );
        }
    }
}

#[test]
fn how_a_batch_is_parted_does_not_matter() {
    let whole = {
        let mut trainer = trainer(model("llama3-rope"), 1);
        trainer.step(&batch(0)).unwrap();
        trainer
    };
    let mut parted = trainer(model("llama3-rope").with_tokens_at_once(8), 1);
    parted.step(&batch(0)).unwrap();
    for ((name, one), (_, other)) in weights(&whole).iter().zip(weights(&parted)) {
        let apart = one.iter().zip(&other).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart < 1e-4, "{name}: {apart}");
    }
}

#[test]
fn steps_lower_the_loss() {
    let mut trainer =
        trainer(CausalLm::<Flex>::init(&config("llama3-rope"), 1, Default::default()).unwrap(), 30);
    trainer.step(&batch(0)).unwrap();
    let before = trainer.take_loss().unwrap();
    // Of random weights: about that of a uniform guess.
    assert!((before - 96f32.ln()).abs() < 0.2, "{before}");
    for _ in 1..30 {
        trainer.step(&batch(0)).unwrap();
    }
    let mean = trainer.take_loss().unwrap();
    trainer.step(&batch(0)).unwrap();
    let after = trainer.take_loss().unwrap();
    assert!(after < mean && mean < before, "{before}, {mean}, {after}");
    assert!(after < 0.5 * before, "{before}, {after}");
}

#[test]
fn a_break_changes_nothing() {
    for family in ["llama3-rope", "qwen2-shards"] {
        let mut straight = trainer(model(family), 6);
        for number in 0..6 {
            straight.step(&batch(number)).unwrap();
        }
        let mut first = trainer(model(family), 6);
        for number in 0..3 {
            first.step(&batch(number)).unwrap();
        }
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("config.json"), config(family)).unwrap();
        first.save_checkpoint(dir.path()).unwrap();
        let mut second = Pretrainer::resume(dir.path(), &first.config, Default::default()).unwrap();
        assert_eq!((second.steps_done(), weights(&second)), (3, weights(&first)));
        for number in 3..6 {
            second.step(&batch(number)).unwrap();
        }
        assert_eq!(weights(&second), weights(&straight), "{family}");
    }
}

#[test]
fn a_damaged_checkpoint_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("config.json"), config("mistral")).unwrap();
    let trainer = trainer(model("mistral"), 1);
    trainer.save_checkpoint(dir.path()).unwrap();
    let resume = || Pretrainer::<Flex>::resume(dir.path(), &trainer.config, Default::default());
    assert!(resume().is_ok());
    for (name, damage) in [(MOMENTS, &b"\x93"[..]), (PROGRESS, b"{"), ("model.safetensors", b"")] {
        let file = dir.path().join(name);
        let whole = fs::read(&file).unwrap();
        fs::write(&file, damage).unwrap();
        let error = resume().unwrap_err().to_string();
        assert!(error.contains(name), "{name}: {error}");
        fs::remove_file(&file).unwrap();
        let error = resume().unwrap_err().to_string();
        assert!(error.contains(name), "{name}: {error}");
        fs::write(&file, whole).unwrap();
    }
}

#[test]
fn what_is_saved_gives_the_same_logits() {
    let rows = vec![vec![5, 17, 60, 2, 90, 33]];
    for family in FAMILIES {
        let mut trainer = trainer(model(family), 2);
        trainer.step(&batch(0)).unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("config.json"), config(family)).unwrap();
        let logits = |model: &CausalLm<Flex>| model.logits(&rows, None).unwrap();
        let load = || {
            CausalLm::<Flex>::load(&ModelFiles::from_dir(dir.path()).unwrap(), Default::default())
                .unwrap()
        };
        trainer.save(dir.path(), Precision::F32).unwrap();
        assert_eq!(logits(&load()), logits(trainer.model()), "{family}");
        trainer.save(dir.path(), Precision::F16).unwrap();
        let (half, full) = (logits(&load()), logits(trainer.model()));
        let apart = half.iter().zip(&full).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart > 0.0 && apart < 0.05, "{family}: {apart}");
        assert!(trainer.save(dir.path(), Precision::Bf16).is_err());
    }
}

#[test]
fn random_weights_depend_on_the_seed_alone() {
    let make =
        |seed| trainer(CausalLm::init(&config("qwen3"), seed, Default::default()).unwrap(), 1);
    assert_eq!(weights(&make(1)), weights(&make(1)));
    let (one, other) = (weights(&make(1)), weights(&make(2)));
    for ((name, one), (_, other)) in one.iter().zip(&other) {
        if name.ends_with("norm.weight") {
            assert!(one.iter().all(|x| *x == 1.0), "{name}");
            continue;
        }
        assert_ne!(one, other, "{name}");
        let square: f32 = one.iter().map(|x| x * x).sum::<f32>() / one.len() as f32;
        let into_residual = name.contains("o_proj") || name.contains("down_proj");
        let expected = if into_residual { 0.01 } else { 0.02 };
        assert!((square.sqrt() / expected - 1.0).abs() < 0.1, "{name}: {}", square.sqrt());
    }
}

#[test]
fn the_rate_rises_stays_and_falls() {
    let config = PretrainConfig {
        learning_rate: 1.0,
        steps: 10,
        warmup: 0.2,
        decay: 0.3,
        ..PretrainConfig::default()
    };
    let rates: Vec<f64> = (0..10).map(|step| config.rate(step)).collect();
    let expected = [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0 / 3.0, 1.0 / 3.0];
    assert!(rates.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{rates:?}");
    let constant = PretrainConfig { warmup: 0.0, decay: 0.0, ..config };
    assert!((0..10).all(|step| constant.rate(step) == 1.0));
}

#[test]
fn bad_settings_are_refused_by_name() {
    let good = PretrainConfig::default();
    for (name, bad) in [
        ("learning_rate", PretrainConfig { learning_rate: 0.0, ..good.clone() }),
        ("max_grad_norm", PretrainConfig { max_grad_norm: f64::NAN, ..good.clone() }),
        ("warmup", PretrainConfig { warmup: 1.5, ..good.clone() }),
        ("decay", PretrainConfig { decay: -0.1, ..good.clone() }),
        ("weight_decay", PretrainConfig { weight_decay: -1.0, ..good.clone() }),
        ("steps", PretrainConfig { steps: 0, ..good.clone() }),
    ] {
        assert!(bad.check().unwrap_err().to_string().contains(name), "{name}");
    }
    assert!(good.check().is_ok());
}
