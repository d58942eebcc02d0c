//! Decoding steps after the model: two branches' logits to a token.

use anyhow::{Result, ensure};
use spring_core::spring_fuse::{MixtureConfig, SamplerConfig, log_softmax};

use super::timed;
use crate::protocol::Reply;

pub fn steps(
    logits: &[Vec<f32>],
    steps: usize,
    temperature: f32,
    top_p: f32,
) -> Result<impl FnMut() -> Result<Reply>> {
    ensure!(logits.len() == 2, "two branches are compared, not {}", logits.len());
    let mut mixture = MixtureConfig::default().init()?;
    let draws = SamplerConfig::default().with_temperature(temperature).with_top_p(Some(top_p));
    let mut samplers = [("greedy", SamplerConfig::default().init()?), ("top-p", draws.init()?)];
    let [mut without, mut with, mut mixed] = [(); 3].map(|()| vec![0.0; logits[0].len()]);
    Ok(move || {
        let mut reply = Reply::default();
        let mut mix = |mixed: &mut [f32]| -> Result<()> {
            log_softmax(&logits[0], &mut without)?;
            log_softmax(&logits[1], &mut with)?;
            mixture.mix(&[&without, &with], &[0.5, 0.5], mixed)?;
            Ok(())
        };
        for (name, sampler) in &mut samplers {
            let (seconds, last) = timed(|| {
                let mut last = 0;
                for step in 0..steps as u64 {
                    mix(&mut mixed)?;
                    last = sampler.choose(&mut mixed, step)?;
                }
                Ok::<u32, anyhow::Error>(last)
            });
            let last = last?;
            reply.parts.push(((*name).into(), seconds));
            if *name == "greedy" {
                reply.result = mixed.iter().step_by(100).map(|&x| f64::from(x)).collect();
                reply.result.push(last.into());
            }
        }
        Ok(reply)
    })
}
