//! A step allocates nothing once the working memory is there, whatever comes next.

#![allow(clippy::unwrap_used)]

use allocation_counter::measure;
use spring_fuse::{Contrast, MixtureConfig, Penalties, SamplerConfig, Space, log_softmax};

const VOCABULARY: usize = 20_000;
const STEPS: usize = 6;

/// The logits of both branches at a step: at first one token is nearly certain, then more and more
/// are possible, and in the end all tokens are alike.
fn logits(step: usize) -> [Vec<f32>; 2] {
    let steepness = 0.05 * (1.0 - step as f32 / (STEPS - 1) as f32);
    [7, 31].map(|stride| {
        (0..VOCABULARY).map(|token| (token * stride % 997) as f32 * steepness).collect()
    })
}

#[test]
fn no_step_but_the_first_allocates() {
    let steps: Vec<[Vec<f32>; 2]> = (0..STEPS).map(logits).collect();
    // Longer at each step, as the tokens that were written come to the prompt.
    let history: Vec<u32> = (0..VOCABULARY as u32).map(|token| token * 7 % 5000).collect();
    let sampled = SamplerConfig::default().with_temperature(0.8);
    let samplers = [
        SamplerConfig::default(),
        sampled,
        sampled.with_top_k(Some(40)),
        sampled.with_top_k(Some(VOCABULARY / 2)),
        sampled.with_top_p(Some(0.95)),
        sampled.with_min_p(Some(0.1)),
        sampled.with_top_k(Some(40)).with_top_p(Some(0.9)).with_min_p(Some(0.1)),
    ];
    let lambda = |name: &str| MixtureConfig::default().with_lambda(name.parse().unwrap());
    let space = |name: &str| MixtureConfig::default().with_space(name.parse::<Space>().unwrap());
    for mixture in [lambda("0.5"), lambda("divergence"), space("logit"), space("contrastive")] {
        for sampler in samplers {
            let (mut mixture, mut sampler) = (mixture.init().unwrap(), sampler.init().unwrap());
            let mut penalizer = Penalties::default().init().unwrap();
            let [mut base, mut without, mut with, mut mixed] =
                [(); 4].map(|()| vec![0.0; VOCABULARY]);
            let mut step = |index: usize| {
                log_softmax(&steps[0][1], &mut base).unwrap();
                log_softmax(&steps[index][0], &mut mixed).unwrap();
                Contrast::default().apply(&mixed, &base, &mut without).unwrap();
                log_softmax(&steps[index][1], &mut with).unwrap();
                let trace = mixture.mix(&[&without, &with], &[0.5, 0.5], &mut mixed).unwrap();
                penalizer.apply(&mut mixed, &history[..50 + index * 3000]).unwrap();
                let token = sampler.choose(&mut mixed, index as u64).unwrap();
                trace.shares(&[&without, &with], token).unwrap()
            };
            step(0);
            let allocations = measure(|| {
                for index in 1..STEPS {
                    step(index);
                }
            });
            assert_eq!(allocations.count_total, 0, "{} {sampler:?}", mixture.name());
        }
    }
}
