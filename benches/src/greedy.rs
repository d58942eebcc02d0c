//! Greedy continuations, to be compared with another program's.

use std::{fs::File, io::BufReader, path::Path, sync::Arc};

use anyhow::Result;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use spring_model::{Adapter, AnyModel, Decode, Device, LoraConfig, ModelFiles, Projection};

/// What a prompt is continued with.
#[derive(Debug, Serialize)]
struct Continuation {
    context: Vec<u32>,
    /// The likeliest tokens after the context, and their log-probabilities.
    next: Vec<(usize, f32)>,
    tokens: Vec<u32>,
    /// How far the best token was ahead of the second, in nats.
    margins: Vec<f32>,
}

/// How many of the likeliest tokens are told.
const TOLD: usize = 200;

/// Writes a random adapter on all projections that changes what the model says.
pub fn write_adapter(model: &Path, out: &Path) -> Result<()> {
    let config = ModelFiles::open(model)?.model_config()?;
    let lora = LoraConfig::default().with_targets(Projection::ALL.to_vec());
    let mut adapter = Adapter::init(&lora, &config, "", 1)?;
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for (_, _, pair) in adapter.pairs_mut() {
        pair.b.iter_mut().for_each(|value| *value = rng.random_range(-0.1..0.1));
    }
    Ok(adapter.save_gguf(out, &config)?)
}

/// Prints a list of continuations.
#[allow(clippy::print_stdout)]
pub fn run(model: &Path, prompts: &Path, most: usize, adapter: Option<&Path>) -> Result<()> {
    let prompts: Vec<String> = serde_json::from_reader(BufReader::new(File::open(prompts)?))?;
    let model = AnyModel::load(&ModelFiles::open(model)?, Device::Cpu)?;
    let adapter = adapter.map(|path| Adapter::load_gguf(path, model.config())).transpose()?;
    let adapter = adapter.map(Arc::new);
    let tokenizer = model.tokenizer()?;
    let mut all = Vec::new();
    for prompt in &prompts {
        let context = tokenizer.encode(prompt)?;
        let mut session = model.session()?;
        let row = session.join(&context, adapter.clone(), most)?;
        let sorted = |log_probs: &[f32]| {
            let mut all: Vec<(usize, f32)> = log_probs.iter().copied().enumerate().collect();
            all.sort_by(|a, b| b.1.total_cmp(&a.1));
            all.truncate(TOLD);
            all
        };
        let next = sorted(session.log_probs(row).unwrap_or_default());
        let (mut tokens, mut margins) = (Vec::new(), Vec::new());
        while let (true, Some(log_probs)) = (tokens.len() < most, session.log_probs(row)) {
            let best = sorted(log_probs);
            let token = best[0].0 as u32;
            tokens.push(token);
            margins.push(best[0].1 - best[1].1);
            if model.config().eos.contains(&token) {
                break;
            }
            session.step(&[(row, token)])?;
        }
        all.push(Continuation { context, next, tokens, margins });
    }
    println!("{}", serde_json::to_string(&all)?);
    Ok(())
}
