//! One decoding step over a vocabulary of 262,144 (Gemma 3's) with two branches, and its parts.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use spring_fuse::{
    Contrastive, FuseError, Lambda, LogLinear, Mixture, MixtureConfig, Penalties, Probability,
    SamplerConfig, jensen_shannon, log_softmax,
};

const VOCABULARY: usize = 262_144;
const WEIGHTS: [f32; 2] = [0.5, 0.5];

/// As a language model's logits look: a bell-shaped bulk, and 64 likely tokens that hold most of
/// the probability; and the same a little disturbed.
fn logits() -> [Vec<f32>; 2] {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut bell = || (0..6).map(|_| rng.random_range(-1.0f32..1.0)).sum::<f32>();
    let mut without: Vec<f32> = (0..VOCABULARY).map(|_| 2.0 * bell()).collect();
    for rank in 0..64 {
        without[rank * 4001] = 16.0 - 1.5 * (rank as f32 + 1.0).ln();
    }
    let with = without.iter().map(|logit| logit + bell()).collect();
    [without, with]
}

fn log_probs(logits: &[Vec<f32>; 2]) -> Result<[Vec<f32>; 2], FuseError> {
    let mut out = logits.clone();
    log_softmax(&logits[0], &mut out[0])?;
    log_softmax(&logits[1], &mut out[1])?;
    Ok(out)
}

/// A history of this many tokens, some of them more than once.
fn history(length: u32) -> Vec<u32> {
    (0..length).map(|index| index * 997 % VOCABULARY as u32 / 2).collect()
}

/// From the logits of two branches to a token.
fn whole_step(criterion: &mut Criterion, logits: &[Vec<f32>; 2]) -> Result<(), FuseError> {
    let history = history(256);
    let sampled = SamplerConfig::default().with_temperature(0.8).with_top_p(Some(0.95));
    let configs = [
        ("greedy", MixtureConfig::default(), SamplerConfig::default()),
        ("sampled", MixtureConfig::default(), sampled),
        (
            "adaptive_lambda",
            MixtureConfig::default()
                .with_lambda(Lambda::Divergence { agree: 0.25, disagree: 0.75 }),
            SamplerConfig::default(),
        ),
    ];
    let mut group = criterion.benchmark_group("step");
    for (name, mixture, sampler) in configs {
        let (mut mixture, mut sampler, mut penalizer) =
            (mixture.init()?, sampler.init()?, Penalties::default().init()?);
        let [mut without, mut with, mut mixed] = [(); 3].map(|()| vec![0.0; VOCABULARY]);
        let mut step = |index: u64| -> Result<u32, FuseError> {
            log_softmax(&logits[0], &mut without)?;
            log_softmax(&logits[1], &mut with)?;
            mixture.mix(&[&without, &with], &WEIGHTS, &mut mixed)?;
            penalizer.apply(&mut mixed, &history)?;
            sampler.choose(&mut mixed, index)
        };
        step(0)?;
        let mut index = 0;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                index += 1;
                step(black_box(index))
            });
        });
    }
    group.finish();
    Ok(())
}

fn parts(criterion: &mut Criterion, logits: &[Vec<f32>; 2]) -> Result<(), FuseError> {
    let log_probs = log_probs(logits)?;
    let branches: [&[f32]; 2] = [&log_probs[0], &log_probs[1]];
    let mut out = vec![0.0; VOCABULARY];
    let mut group = criterion.benchmark_group("part");
    group.bench_function("log_softmax", |bencher| {
        bencher.iter(|| log_softmax(black_box(&logits[0]), &mut out))
    });
    let mixtures: [Box<dyn Mixture>; 3] =
        [Box::new(Probability), Box::new(LogLinear), Box::new(Contrastive::default())];
    for mut mixture in mixtures {
        let name = format!("mix_{}", mixture.name());
        group.bench_function(name, |bencher| {
            bencher.iter(|| mixture.mix(black_box(&branches), &WEIGHTS, &mut out))
        });
    }
    group.bench_function("jensen_shannon", |bencher| {
        bencher.iter(|| jensen_shannon(black_box(&branches)))
    });
    let mut greedy = SamplerConfig::default().init()?;
    group.bench_function("choose_greedy", |bencher| {
        bencher.iter(|| greedy.choose(black_box(&mut out), 0))
    });
    group.finish();
    Ok(())
}

/// Every filter, on a distribution with a few likely tokens and on one where all are alike. A draw
/// overwrites its input, so each includes a copy of it, some 0.02 ms.
fn draws(criterion: &mut Criterion, logits: &[Vec<f32>; 2]) -> Result<(), FuseError> {
    let [likely, _] = log_probs(logits)?;
    let flat = vec![-(VOCABULARY as f32).ln(); VOCABULARY];
    let plain = SamplerConfig::default().with_temperature(0.8);
    let samplers = [
        ("plain", plain),
        ("top_k_40", plain.with_top_k(Some(40))),
        ("top_p_0.95", plain.with_top_p(Some(0.95))),
        ("min_p_0.05", plain.with_min_p(Some(0.05))),
    ];
    let mut group = criterion.benchmark_group("draw");
    for (shape, log_probs) in [("likely", &likely), ("flat", &flat)] {
        for (name, config) in samplers {
            let mut sampler = config.init()?;
            let mut out = log_probs.clone();
            sampler.choose(&mut out, 0)?;
            let mut index = 0;
            group.bench_function(format!("{name}/{shape}"), |bencher| {
                bencher.iter(|| {
                    index += 1;
                    out.copy_from_slice(black_box(log_probs));
                    sampler.choose(&mut out, index)
                });
            });
        }
    }
    group.finish();
    let mut group = criterion.benchmark_group("penalties");
    for length in [256, 8192, 131_072] {
        let (mut penalizer, history) = (Penalties::default().init()?, history(length));
        let mut out = likely.clone();
        penalizer.apply(&mut out, &history)?;
        group.bench_function(format!("history_{length}"), |bencher| {
            bencher.iter(|| {
                out.copy_from_slice(black_box(&likely));
                penalizer.apply(&mut out, &history)
            });
        });
    }
    group.finish();
    Ok(())
}

fn step(criterion: &mut Criterion) {
    let logits = logits();
    let run = whole_step(criterion, &logits)
        .and_then(|()| parts(criterion, &logits))
        .and_then(|()| draws(criterion, &logits));
    if let Err(error) = run {
        eprintln!("the benchmark did not run: {error}");
        std::process::exit(1);
    }
}

criterion_group!(benches, step);
criterion_main!(benches);
