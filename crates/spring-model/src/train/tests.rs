//! The optimiser against torch's AdamW on a PEFT adapter; the fixtures' README says how they were
//! made.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use burn::{
    backend::Flex,
    tensor::{Tensor, TensorData},
};
use safetensors::SafeTensors;
use serde_json::Value;

use super::{watch::Watch, *};
use spring_lm::Weights;

use crate::{
    Adapter, LoraConfig, LoraPair, ModelFiles, Projection, head::Head, to_host::to_host,
    weight::Weight,
};

fn fixture(name: &str) -> PathBuf {
    let here = std::env::var("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").into());
    PathBuf::from(here).join("tests/fixtures").join(name)
}

fn tiny_on<B: ModelBackend>() -> CausalLm<B> {
    CausalLm::load(&ModelFiles::from_dir(fixture("tiny-llama")).unwrap(), Default::default())
        .unwrap()
}

fn tiny() -> CausalLm<Flex> {
    tiny_on()
}

fn peft_weights(name: &str) -> Adapter {
    let bytes = std::fs::read(fixture(name)).unwrap();
    let config = LoraConfig::default().with_dropout(0.0);
    let file = Weights::from_bytes(&bytes, name.into()).unwrap();
    let pairs = (0..2).flat_map(|layer| config.targets.iter().map(move |p| (layer, *p)));
    let pairs = pairs.map(|(layer, projection)| {
        let path = format!("base_model.model.model.layers.{layer}.{}", projection.path());
        let factor = |name| file.matrix(&format!("{path}.{name}.weight")).unwrap();
        (layer, projection, LoraPair { a: factor("lora_A"), b: factor("lora_B") })
    });
    Adapter::from_pairs(config.clone(), "", pairs).unwrap()
}

fn integers(file: &SafeTensors<'_>, name: &str) -> Vec<usize> {
    let bytes = file.tensor(name).unwrap().data().to_vec();
    bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) as usize).collect()
}

/// The batches of the fixture, as sequences.
fn batches() -> Vec<Vec<Sequence>> {
    let bytes = std::fs::read(fixture("adamw/batches.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let width = file.tensor("input_ids").unwrap().shape()[2];
    let ids = integers(&file, "input_ids");
    let (lengths, starts) = (integers(&file, "lengths"), integers(&file, "response_start"));
    let sequences: Vec<Sequence> = (0..lengths.len())
        .map(|row| {
            let row_ids: Vec<u32> =
                ids[row * width..][..lengths[row]].iter().map(|id| *id as u32).collect();
            let (context, response) = row_ids.split_at(starts[row]);
            Sequence { context: context.to_vec(), response: response.to_vec() }
        })
        .collect();
    sequences.chunks(4).map(<[_]>::to_vec).collect()
}

/// `tolerance` is of losses and norms, `of_weights` of the weights after all twenty steps. A GPU
/// sums in another order at every step.
fn steps_equal_torch<B: ModelBackend>(steps: usize, tolerance: f32, of_weights: Option<f32>) {
    let model = tiny_on::<B>();
    let reference: Value =
        serde_json::from_slice(&std::fs::read(fixture("adamw/steps.json")).unwrap()).unwrap();
    let config = TrainConfig::default().with_learning_rate(3e-3);
    let start = peft_weights("adamw/start.safetensors");
    let mut trainer = Trainer::new(&model, model.attach(&start).unwrap(), &config);
    for (i, batch) in batches().iter().take(steps).enumerate() {
        let expected = &reference["steps"][i];
        let rate = config.rate(i, 20);
        assert!((rate - expected["lr"].as_f64().unwrap()).abs() < 1e-12, "step {i}: rate {rate}");
        let step = trainer.step(&batch.iter().collect::<Vec<_>>(), &[], rate, None);
        for (name, seen) in [("loss", step.loss), ("gradient_norm", step.gradient_norm)] {
            let (seen, expected) =
                (f64::from(to_host(seen).unwrap()[0]), expected[name].as_f64().unwrap());
            assert!(
                (seen - expected).abs() < f64::from(tolerance) * expected.max(1.0),
                "step {i}: {name} {seen}, torch {expected}"
            );
        }
    }
    let Some(tolerance) = of_weights else { return };
    let (end, expected) =
        (trainer.weights.to_adapter(&start).unwrap(), peft_weights("adamw/end.safetensors"));
    let mut largest = 0f32;
    for ((_, _, ours), (_, _, torch)) in end.pairs().zip(expected.pairs()) {
        for (a, b) in ours.a.iter().chain(&ours.b).zip(torch.a.iter().chain(&torch.b)) {
            largest = largest.max((a - b).abs());
        }
    }
    assert!(largest < tolerance, "largest difference of a weight: {largest}");
}

#[test]
fn steps_equal_torch_on_cpu() {
    steps_equal_torch::<Flex>(20, 1e-5, Some(1e-5));
}

#[test]
#[cfg(feature = "wgpu")]
fn steps_equal_torch_on_wgpu() {
    // Every step has shapes of its own, and on a device in software each takes a while at its first
    // use.
    steps_equal_torch::<burn::backend::Wgpu>(3, 1e-4, None);
}

#[test]
#[cfg(feature = "cuda")]
fn steps_equal_torch_on_cuda() {
    // Products in TF32 (docs/results/cuda.md): AdamW takes a whole step also where the sign of a
    // tiny gradient differs.
    steps_equal_torch::<burn::backend::Cuda>(20, 1e-2, None);
}

fn head<B: ModelBackend>(weight: Tensor<B, 2>, softcap: Option<f64>) -> Head<B> {
    Head { weight: Weight::dense(weight), softcap }
}

#[test]
fn chunked_gradient_equals_the_plain_one() {
    type B = Autodiff<Flex>;
    let device = Default::default();
    let numbers = |n: usize, k: u32| -> Vec<f32> {
        (0..n).map(|i| ((i as u32 * k) % 97) as f32 / 48.5 - 1.0).collect()
    };
    for softcap in [None, Some(0.7)] {
        let hidden =
            Tensor::<B, 2>::from_data(TensorData::new(numbers(7 * 5, 31), [7, 5]), &device)
                .require_grad();
        let weight =
            Tensor::<B, 2>::from_data(TensorData::new(numbers(11 * 5, 57), [11, 5]), &device);
        let targets =
            Tensor::from_data(TensorData::new(vec![3i64, 0, 10, 7, 7, 1, 5], [7]), &device);
        let log_probs = head(weight.clone(), softcap).log_probs(hidden.clone());
        let plain = log_probs.gather(1, targets.clone().reshape([7, 1])).mean().neg();
        let mut gradients = plain.backward();
        let plain_gradient = hidden.grad_remove(&mut gradients).unwrap();
        let head = head(weight.inner(), softcap);
        let (loss, gradient) = head.cross_entropy(hidden.inner(), targets.inner(), 1.0 / 7.0);
        assert!((loss.into_scalar() - plain.inner().into_scalar()).abs() < 1e-5);
        assert!((gradient - plain_gradient).abs().max().into_scalar() < 1e-5);
    }
}

#[test]
fn the_base_has_no_gradient() {
    struct Tracked(usize);
    impl burn::module::ModuleVisitor<Autodiff<Flex>> for Tracked {
        fn visit_float<const D: usize>(
            &mut self,
            param: &burn::module::Param<Tensor<Autodiff<Flex>, D>>,
        ) {
            self.0 += usize::from(param.val().is_require_grad());
        }
    }
    let model = tiny();
    let adapter =
        Adapter::init(&LoraConfig::default(), &model.config, &model.fingerprint, 1).unwrap();
    let trainer = Trainer::new(&model, model.attach(&adapter).unwrap(), &TrainConfig::default());
    let mut tracked = Tracked(0);
    burn::module::Module::visit(&trainer.transformer, &mut tracked);
    assert_eq!(tracked.0, 0);
    assert_eq!(
        trainer
            .weights
            .tracked::<Autodiff<Flex>>()
            .factors()
            .filter(|f| f.is_require_grad())
            .count(),
        8
    );
}

#[test]
fn a_seed_decides_the_result_and_a_stop_keeps_nothing() {
    let model = tiny();
    let examples: Vec<Sequence> = batches().concat().into_iter().take(6).collect();
    let config = TrainConfig::default().with_learning_rate(1e-3);
    let run = |seed| {
        model
            .train(TrainRequest::new(&LoraConfig::default(), &examples, &config, seed), |_| {
                ControlFlow::Continue(())
            })
            .unwrap()
    };
    let (first, again, other) = (run(7), run(7), run(8));
    assert_eq!(first.adapter, again.adapter);
    assert_ne!(first.adapter, other.adapter);
    assert_eq!((first.steps, first.losses.len()), (4, 1));
    assert_eq!(first.tokens, 2 * examples.iter().map(|s| s.response.len()).sum::<usize>());

    let stopped =
        model.train(TrainRequest::new(&LoraConfig::default(), &examples, &config, 7), |step| {
            if step.done == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
    assert!(matches!(stopped, Err(ModelError::Stopped)));
}

#[test]
fn how_many_rows_run_together_changes_nothing_but_rounding() {
    let examples: Vec<Sequence> = batches().concat().into_iter().take(8).collect();
    let config = TrainConfig::default().with_learning_rate(1e-3);
    let [together, alone] = [usize::MAX, 1].map(|tokens| {
        let model = tiny().with_tokens_at_once(tokens);
        model
            .train(
                TrainRequest::new(&LoraConfig::default().with_dropout(0.3), &examples, &config, 7),
                |_| ControlFlow::Continue(()),
            )
            .unwrap()
            .adapter
    });
    let mut largest = 0f32;
    for ((_, _, a), (_, _, b)) in together.pairs().zip(alone.pairs()) {
        for (a, b) in a.a.iter().chain(&a.b).zip(b.a.iter().chain(&b.b)) {
            largest = largest.max((a - b).abs());
        }
    }
    assert!(largest < 1e-5, "{largest}");
}

#[test]
fn checkpointed_layers_give_the_plain_gradient() {
    let model = tiny();
    let mut adapter = Adapter::init(
        &LoraConfig::default().with_targets(Projection::ALL.to_vec()),
        &model.config,
        &model.fingerprint,
        1,
    )
    .unwrap();
    // With B at zero A would have no gradient.
    for (_, _, pair) in adapter.pairs_mut() {
        pair.b.iter_mut().enumerate().for_each(|(i, x)| *x = (i % 7) as f32 / 35.0 - 0.08);
    }
    let rows = &batches()[2];
    let [plain, checkpointed] = [false, true].map(|checkpoint_layers| {
        let config = TrainConfig::default().with_checkpoint_layers(checkpoint_layers);
        let trainer = Trainer::new(&model, model.attach(&adapter).unwrap(), &config);
        let dropout = Dropout { probability: 0.2, seeds: vec![5; rows.len()] };
        let rows = rows.iter().collect();
        let part = Part { rows, weights: vec![], dropout: Some(dropout), scale: 0.1 };
        let Found { loss, gradients } = trainer.gradients(&part);
        (loss, gradients)
    });
    assert!((plain.0 - checkpointed.0).abs().into_scalar() < 1e-5);
    assert_eq!(plain.1.len(), 2 * 7 * 2);
    for (a, b) in plain.1.into_iter().zip(checkpointed.1) {
        let (a, b) = (a.unwrap(), b.unwrap());
        assert!(a.clone().abs().max().into_scalar() > 1e-4);
        assert!((a - b).abs().max().into_scalar() < 1e-5);
    }
}

#[test]
fn an_adapter_keeps_its_shape_and_must_be_whole() {
    let model = tiny();
    let run = |start: &Adapter, lora: &LoraConfig| {
        model.train(
            TrainRequest::new(lora, &batches()[0], &TrainConfig::default(), 1)
                .starting_from(Some(start)),
            |_| ControlFlow::Continue(()),
        )
    };
    let start =
        Adapter::init(&LoraConfig::default(), &model.config, &model.fingerprint, 1).unwrap();
    let other = LoraConfig::default().with_rank(4);
    assert!(run(&start, &other).unwrap_err().to_string().contains("[lora]"));
    let kept =
        start.pairs().filter(|(layer, projection, _)| (*layer, *projection) != (1, Projection::V));
    let kept = kept.map(|(layer, projection, pair)| (layer, projection, pair.clone()));
    let start = Adapter::from_pairs(start.config.clone(), &start.base, kept).unwrap();
    let error = run(&start, &LoraConfig::default()).unwrap_err().to_string();
    assert!(error.contains("layer 1 v_proj is missing"), "{error}");
}

#[test]
fn one_step_learns_something() {
    let model = tiny();
    let config = TrainConfig::default().with_epochs(1);
    let start =
        Adapter::init(&LoraConfig::default(), &model.config, &model.fingerprint, 1).unwrap();
    let outcome = model
        .train(
            TrainRequest::new(&LoraConfig::default(), &batches()[0], &config, 1)
                .starting_from(Some(&start)),
            |_| ControlFlow::Continue(()),
        )
        .unwrap();
    assert_eq!(outcome.steps, 1);
    assert_ne!(outcome.adapter, start);
}

#[test]
fn a_diverging_run_is_an_error() {
    let model = tiny();
    let mut adapter =
        Adapter::init(&LoraConfig::default(), &model.config, &model.fingerprint, 1).unwrap();
    for (_, _, pair) in adapter.pairs_mut() {
        pair.b.fill(f32::MAX);
        pair.a.fill(f32::MAX);
    }
    let examples = &batches()[0];
    let run = model.train(
        TrainRequest::new(&LoraConfig::default(), examples, &TrainConfig::default(), 1)
            .starting_from(Some(&adapter)),
        |_| ControlFlow::Continue(()),
    );
    assert!(matches!(run, Err(ModelError::NotFinite { .. })), "{run:?}");
}

#[test]
fn a_gradient_that_overflows_is_an_error() {
    let model = tiny();
    let mut adapter =
        Adapter::init(&LoraConfig::default(), &model.config, &model.fingerprint, 1).unwrap();
    // Their product is small, so the loss is sound; the gradient of A goes through B, and its
    // square is beyond f32.
    for (_, _, pair) in adapter.pairs_mut() {
        pair.a.mapv_inplace(|x| x * 1e-25);
        pair.b.fill(1e25);
    }
    let run = model.train(
        TrainRequest::new(
            &LoraConfig::default(),
            &batches()[0],
            &TrainConfig::default().with_epochs(1),
            1,
        )
        .starting_from(Some(&adapter)),
        |_| ControlFlow::Continue(()),
    );
    assert!(
        matches!(
            run,
            Err(ModelError::GradientNotFinite { step: 1, norm }) if norm == f32::INFINITY
        ),
        "{run:?}"
    );
}

#[test]
fn a_loss_far_above_the_first_is_an_error() {
    let step = |loss: f32| Step {
        loss: Tensor::<Flex, 1>::from_data([loss], &Default::default()),
        gradient_norm: Tensor::from_data([0.5 * loss], &Default::default()),
    };
    let mut watch = Watch::new(320);
    // Two steps an interval: their mean, and the larger norm.
    for losses in [[2.0, 4.0], [6.0, 11.0], [1.0, 1.0]] {
        losses.into_iter().for_each(|loss| watch.push(step(loss)));
        let mean = (losses[0] + losses[1]) / 2.0;
        assert_eq!(watch.read(2).unwrap(), (mean, 0.5 * losses[1]));
    }
    // ln 320 is 5.77.
    watch.push(step(8.7));
    watch.read(7).unwrap();
    watch.push(step(8.8));
    let grown = watch.read(8);
    assert!(
        matches!(grown, Err(ModelError::Diverged { step: 8, first: 3.0, loss: 8.8 })),
        "{grown:?}"
    );
}

/// A model that is sure of its own words has much to lose.
#[test]
fn a_run_with_an_absurd_rate_ends_as_diverged() {
    let mut model = tiny();
    for (name, parameter) in model.transformer.parameters_mut() {
        if name == "lm_head.weight" {
            *parameter =
                burn::module::Param::initialized(parameter.id, parameter.val().mul_scalar(8.0));
        }
    }
    let mut ids = vec![1, 40, 41];
    for _ in 0..8 {
        let logits = model.logits(&[ids.clone()], None).unwrap();
        let last = &logits[logits.len() - model.config.vocab_size..];
        ids.push((0..last.len()).max_by(|a, b| last[*a].total_cmp(&last[*b])).unwrap() as u32);
    }
    let example = Sequence { context: ids[..3].to_vec(), response: ids[3..].to_vec() };
    let run = |learning_rate| {
        let config = TrainConfig::default()
            .with_learning_rate(learning_rate)
            .with_epochs(20)
            .with_loss_interval(1);
        model.train(
            TrainRequest::new(&LoraConfig::default(), std::slice::from_ref(&example), &config, 1),
            |step| {
                assert!(step.gradient_norm.is_some_and(|norm| norm > 0.0));
                ControlFlow::Continue(())
            },
        )
    };
    run(1e-3).unwrap();
    let diverged = run(30.0);
    assert!(matches!(diverged, Err(ModelError::Diverged { .. })), "{diverged:?}");
}

#[test]
fn settings_have_bounds_and_counts_do_not_overflow() {
    let most = usize::MAX;
    for (config, name) in [
        (TrainConfig::default().with_epochs(most), "epochs"),
        (TrainConfig::default().with_epochs(0), "epochs"),
        (TrainConfig::default().with_batch_size(most), "batch_size"),
        (TrainConfig::default().with_max_tokens(3), "max_tokens"),
        (TrainConfig::default().with_loss_interval(most), "loss_interval"),
    ] {
        let error = config.check().unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("1048576"), "{error}");
    }
    assert_eq!(TrainConfig::default().with_epochs(most).steps(most), most);
    TrainConfig::default().with_epochs(1 << 20).check().unwrap();
}

#[test]
fn an_anchor_holds_the_factors_near_where_they_started() {
    let model = tiny();
    let examples: Vec<Sequence> = batches().concat();
    let start = peft_weights("adamw/start.safetensors");
    let trained = |anchor: f64| {
        let config =
            TrainConfig::default().with_learning_rate(3e-3).with_anchor(anchor).with_epochs(1);
        let go = |_| ControlFlow::Continue(());
        model
            .train(
                TrainRequest::new(&start.config, &examples, &config, 0).starting_from(Some(&start)),
                go,
            )
            .unwrap()
            .adapter
    };
    let distance = |adapter: &Adapter| -> f32 {
        let pairs = adapter.pairs().zip(start.pairs());
        pairs
            .map(|((_, _, new), (_, _, old))| {
                (&new.a - &old.a).mapv(|x| x * x).sum() + (&new.b - &old.b).mapv(|x| x * x).sum()
            })
            .sum()
    };
    let [free, weak, strong] = [0.0, 10.0, 200.0].map(|anchor| distance(&trained(anchor)));
    assert!(0.0 < strong && strong < weak && weak < free, "{free} {weak} {strong}");

    // One step by hand: AdamW's, less rate · anchor · (factor − start), which is nothing at the
    // start itself.
    let batch: Vec<&Sequence> = examples.iter().take(4).collect();
    let config = |anchor| TrainConfig::default().with_anchor(anchor);
    let weights = || model.attach(&start).unwrap();
    let mut plain = Trainer::new(&model, weights(), &config(0.0));
    let mut pulled = Trainer::new(&model, weights(), &config(50.0));
    for trainer in [&mut plain, &mut pulled] {
        trainer.step(&batch, &[], 1e-2, None);
    }
    let host = |lora: &Lora<Flex>| lora.to_adapter(&start).unwrap();
    let first = host(&plain.weights);
    assert_eq!(host(&pulled.weights), first);
    for trainer in [&mut plain, &mut pulled] {
        trainer.step(&batch, &[], 1e-2, None);
    }
    let (plain, pulled) = (host(&plain.weights), host(&pulled.weights));
    for ((((_, _, plain), (_, _, pulled)), (_, _, first)), (_, _, start)) in
        plain.pairs().zip(pulled.pairs()).zip(first.pairs()).zip(start.pairs())
    {
        let expected = &plain.b - (&first.b - &start.b) * 0.5;
        assert!((&pulled.b - &expected).iter().all(|x| x.abs() < 1e-6));
    }
}

/// An adapter whose factors all have a gradient: with B at zero A would have none.
fn moved(model: &CausalLm<Flex>) -> Adapter {
    let mut adapter =
        Adapter::init(&LoraConfig::default(), &model.config, &model.fingerprint, 1).unwrap();
    for (_, _, pair) in adapter.pairs_mut() {
        pair.b.iter_mut().enumerate().for_each(|(i, x)| *x = (i % 7) as f32 / 35.0 - 0.08);
    }
    adapter
}

#[test]
fn a_token_counts_by_its_weight() {
    let model = tiny();
    let adapter = moved(&model);
    let rows = &batches()[2];
    for checkpoint_layers in [false, true] {
        let config = TrainConfig::default().with_checkpoint_layers(checkpoint_layers);
        let trainer = Trainer::new(&model, model.attach(&adapter).unwrap(), &config);
        let gradients = |rows: &[Sequence], weights: &[Vec<f32>]| {
            let (rows, weights) =
                (rows.iter().collect(), weights.iter().map(Vec::as_slice).collect());
            let part = Part { rows, weights, dropout: None, scale: 0.1 };
            let Found { loss, gradients } = trainer.gradients(&part);
            let factors: Vec<f32> =
                gradients.into_iter().flat_map(|g| to_host(g.unwrap()).unwrap()).collect();
            (to_host(loss).unwrap()[0], factors)
        };
        let each = |weight: &dyn Fn(usize) -> f32| -> Vec<Vec<f32>> {
            rows.iter().map(|row| (0..row.response.len()).map(weight).collect()).collect()
        };
        let plain = gradients(rows, &[]);
        // To the last bit.
        assert_eq!(gradients(rows, &each(&|_| 1.0)), plain);
        // The loss is that of all tokens.
        let (loss, none) = gradients(rows, &each(&|_| 0.0));
        assert_eq!(loss, plain.0);
        assert!(none.iter().all(|x| *x == 0.0) && plain.1.iter().any(|x| x.abs() > 1e-4));
        // Without a weight on all that comes after, the rows end there.
        let only_first = gradients(rows, &each(&|token| f32::from(u8::from(token < 2))));
        let cut: Vec<Sequence> = rows
            .iter()
            .map(|row| Sequence {
                context: row.context.clone(),
                response: row.response.iter().copied().take(2).collect(),
            })
            .collect();
        for (a, b) in only_first.1.iter().zip(&gradients(&cut, &[]).1) {
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
        // Twice the weight is twice the gradient.
        for (a, b) in gradients(rows, &each(&|_| 2.0)).1.iter().zip(&plain.1) {
            assert!((a - 2.0 * b).abs() < 1e-5, "{a} {b}");
        }
    }
}

#[test]
fn unrecalled_tokens_are_found_before_the_training() {
    let model = tiny();
    let start = moved(&model);
    let examples: Vec<Sequence> = batches().concat().into_iter().take(6).collect();
    let run = |token_weights| {
        let config = TrainConfig::default()
            .with_learning_rate(1e-3)
            .with_loss_interval(1)
            .with_token_weights(token_weights);
        let request =
            TrainRequest::new(&start.config, &examples, &config, 7).starting_from(Some(&start));
        model.train(request, |_| ControlFlow::Continue(())).unwrap()
    };
    let (equal, unrecalled) = (run(TokenWeights::Equal), run(TokenWeights::Unrecalled));
    assert_ne!(equal.adapter, unrecalled.adapter);
    assert_eq!((equal.steps, equal.tokens), (unrecalled.steps, unrecalled.tokens));
    // Before the first update the loss, which knows no weights, is the same.
    assert_eq!(equal.losses[0], unrecalled.losses[0]);

    let lora = model.attach(&start).unwrap();
    let weights = |examples: &[Sequence]| {
        model.token_weights(TokenWeights::Unrecalled, examples, &lora).unwrap().unwrap()
    };
    let found = weights(&examples);
    let rows: Vec<_> = examples.iter().map(|example| (example, Some(&lora))).collect();
    let expected = TokenWeights::Unrecalled.of(&model.score(&rows).unwrap()).unwrap();
    for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
        assert!((found - expected).abs() < 1e-5, "{found} {expected}");
    }
    let count = found.iter().flatten().count();
    assert!((found.iter().flatten().sum::<f32>() / count as f32 - 1.0).abs() < 1e-4);
    // An example that comes twice has its weights twice.
    let twice = weights(&[examples.clone(), examples.clone()].concat());
    assert_eq!(twice[..6], twice[6..]);
}

#[test]
fn a_fresh_adapter_is_pulled_nowhere() {
    let model = tiny();
    let (batches, lora) = (batches(), LoraConfig::default());
    let trained = |anchor: f64| {
        let config = TrainConfig::default().with_learning_rate(3e-3).with_anchor(anchor);
        let request = TrainRequest::new(&lora, &batches[0], &config, 3);
        model.train(request, |_| ControlFlow::Continue(())).unwrap().adapter
    };
    assert_eq!(trained(200.0), trained(0.0));
}

/// The numbers of an adapter, bit by bit.
fn bits(adapter: &Adapter) -> Vec<u32> {
    let of_pair = |(_, _, pair): (usize, Projection, &LoraPair)| {
        pair.a.iter().chain(&pair.b).map(|x| x.to_bits()).collect::<Vec<_>>()
    };
    adapter.pairs().flat_map(of_pair).collect()
}

/// People of different lengths, numbers of texts, shapes, schedules and seeds; who starts from an
/// adapter; weights, an anchor, no dropout, checkpoints; more rows than run at once.
#[test]
fn side_by_side_comes_out_as_alone() {
    for folder in ["tiny-llama", "parity/llama3-rope", "parity/qwen2-shards"] {
        comes_out_as_alone(folder);
    }
    // Windows, norms of heads, sandwich norms, a cap of the logits.
    for folder in ["parity/mistral", "parity/qwen3", "parity/gemma3"] {
        comes_out_as_alone(folder);
    }
}

fn comes_out_as_alone(folder: &str) {
    let files = ModelFiles::from_dir(fixture(folder)).unwrap();
    let model = CausalLm::<Flex>::load(&files, Default::default()).unwrap();
    let model = model.with_tokens_at_once(120);
    let texts = |count: usize, longest: usize, at: usize| -> Vec<Sequence> {
        let token = |i: usize| (3 + (i * 7919 + at * 131) % 60) as u32;
        (0..count)
            .map(|text| {
                let (context, response) = (1 + (text * 5 + at) % 7, 1 + (text * 11 + at) % longest);
                Sequence {
                    context: (0..context).map(|i| token(text * 97 + i)).collect(),
                    response: (0..response).map(|i| token(text * 89 + 31 * i)).collect(),
                }
            })
            .collect()
    };
    let all = LoraConfig::default().with_targets(Projection::ALL.to_vec());
    let wide = LoraConfig::default().with_rank(3);
    let plain = LoraConfig::default().with_dropout(0.0);
    let config = TrainConfig::default().with_learning_rate(3e-3);
    let started = moved(&model);
    let weights = config.clone().with_token_weights(TokenWeights::Unrecalled);
    let anchored = config.clone().with_anchor(0.1).with_epochs(1);
    let large = config.clone().with_batch_size(7).with_loss_interval(2).with_warmup(0.0);
    let layers = config.clone().with_checkpoint_layers(true);
    let people = [
        (None, &plain, texts(9, 30, 1), &config, 1),
        (None, &all, texts(5, 12, 2), &large, 2),
        (None, &wide, texts(23, 40, 3), &config, 3),
        (Some(&started), &started.config, texts(6, 25, 4), &anchored, 4),
        (None, &all, texts(8, 40, 5), &weights, 5),
        (None, &plain, texts(4, 20, 6), &layers, 6),
        (None, &plain, texts(1, 1, 7), &config, 7),
        (None, &wide, texts(3, 2, 8), &config, 8),
    ];
    let requests: Vec<TrainRequest<'_>> = people
        .iter()
        .map(|(start, lora, texts, config, seed)| {
            TrainRequest::new(lora, texts, config, *seed).starting_from(*start)
        })
        .collect();
    let mut told = vec![0; requests.len()];
    // Most of them go through passes that they share.
    let joined = requests.iter().filter(|request| {
        let run = Run::new(&model, **request).unwrap();
        let rows: Vec<&Sequence> = request.examples.iter().take(4).collect();
        run.trainer.parts(&rows, &[], None).iter().any(|part| model.may_join(&run, part))
    });
    assert!(joined.count() >= 4, "{folder}");
    let together = model.train_many(&requests, |place, step| {
        told[place] += 1;
        assert_eq!(step.done, told[place]);
        ControlFlow::Continue(())
    });
    for (place, (request, together)) in requests.iter().zip(together).enumerate() {
        let (alone, together) =
            (model.train(*request, |_| ControlFlow::Continue(())).unwrap(), together.unwrap());
        assert_eq!(bits(&alone.adapter), bits(&together.adapter), "{folder}, place {place}");
        assert_eq!(alone.losses, together.losses, "{folder}, place {place}");
        assert_eq!((alone.steps, alone.tokens), (together.steps, together.tokens));
        assert_eq!(told[place], alone.steps);
    }
}

#[test]
fn who_stops_or_fails_stops_nobody_else() {
    let model = tiny();
    let text = |length: usize| Sequence { context: vec![3, 4], response: vec![5; length] };
    let good = vec![text(9), text(20), text(14), text(30), text(3), text(11)];
    let bad = vec![Sequence { context: vec![3], response: vec![1_000_000] }];
    let (lora, config) = (LoraConfig::default(), TrainConfig::default());
    let request = |texts, seed| TrainRequest::new(&lora, texts, &config, seed);
    let requests = [request(&good, 1), request(&bad, 2), request(&good, 3), request(&good, 4)];
    let ended = model.train_many(&requests, |place, step| match (place, step.done) {
        (2, 2) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    assert!(ended[1].is_err());
    assert!(matches!(ended[2], Err(ModelError::Stopped)));
    for place in [0, 3] {
        let alone = model.train(requests[place], |_| ControlFlow::Continue(())).unwrap();
        assert_eq!(bits(&ended[place].as_ref().unwrap().adapter), bits(&alone.adapter));
    }
    assert!(model.train_many(&[], |_, _| ControlFlow::Continue(())).is_empty());
}
