//! A step allocates nothing once the working memory is there.

#![allow(clippy::unwrap_used)]

use allocation_counter::measure;
use spring_fuse::{MixtureConfig, Penalties, SamplerConfig, Space, log_softmax};

const VOCABULARY: usize = 20_000;

#[test]
fn no_step_but_the_first_allocates() {
    let logits = |step: usize| -> Vec<f32> {
        (0..VOCABULARY).map(|token| (token * step % 997) as f32 * 0.01).collect()
    };
    let logits = [logits(7), logits(31)];
    let history: Vec<u32> = (0..50).collect();
    let sampled = SamplerConfig { temperature: 0.8, ..SamplerConfig::default() };
    let samplers = [
        SamplerConfig::default(),
        sampled,
        SamplerConfig { top_k: Some(40), ..sampled },
        SamplerConfig { top_p: Some(0.9), ..sampled },
        SamplerConfig { top_k: Some(40), top_p: Some(0.9), min_p: Some(0.1), ..sampled },
    ];
    let lambda = |name: &str| MixtureConfig { lambda: name.parse().unwrap(), ..MixtureConfig::default() };
    let space =
        |name: &str| MixtureConfig { space: name.parse::<Space>().unwrap(), ..MixtureConfig::default() };
    for mixture in [lambda("0.5"), lambda("divergence"), space("logit"), space("contrastive")] {
        for sampler in samplers {
            let (mut mixture, mut sampler) = (mixture.init().unwrap(), sampler.init().unwrap());
            let mut penalizer = Penalties::default().init().unwrap();
            let [mut without, mut with, mut mixed] = [(); 3].map(|()| vec![0.0; VOCABULARY]);
            let mut step = |index: u64| {
                log_softmax(&logits[0], &mut without).unwrap();
                log_softmax(&logits[1], &mut with).unwrap();
                let trace = mixture.mix(&[&without, &with], &[0.5, 0.5], &mut mixed).unwrap();
                penalizer.apply(&mut mixed, &history).unwrap();
                let token = sampler.choose(&mut mixed, index).unwrap();
                trace.shares(&[&without, &with], token).unwrap()
            };
            step(0);
            let allocations = measure(|| {
                step(1);
            });
            assert_eq!(allocations.count_total, 0, "{} {sampler:?}", mixture.name());
        }
    }
}
