//! Reading a context and decoding by candle-transformers' Llama, CPU, float32.

#[path = "../../src/protocol.rs"]
mod protocol;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result};
use candle_core::{D, DType, Device, Tensor};
use candle_nn::{VarBuilder, ops::log_softmax};
use candle_transformers::models::llama::{Cache, Config, Llama, LlamaConfig};
use protocol::{Reply, serve};
use serde::Deserialize;

/// The tasks that candle can do as it is published: its Llama gives the last position's logits
/// alone, and nothing here trains.
#[derive(Deserialize)]
#[serde(tag = "task", rename_all = "snake_case")]
enum Work {
    Prefill {
        model: PathBuf,
        tokens: Vec<u32>,
    },
    Decode {
        model: PathBuf,
        tokens: Vec<u32>,
        new_tokens: usize,
        positions: Vec<usize>,
        rows: Vec<usize>,
    },
}

/// The version is that of Cargo.toml.
const SYSTEM: &str = "candle-transformers 0.11.1";

fn main() -> Result<()> {
    let path = std::env::args().nth(1).context("the task's file is missing")?;
    let work =
        serde_json::from_slice(&fs::read(&path).with_context(|| format!("cannot read {path}"))?)?;
    match work {
        Work::Prefill { model, tokens } => {
            let model = Model::load(&model)?;
            serve(SYSTEM, || model.prefill(&tokens))
        }
        Work::Decode { model, tokens, new_tokens, positions, rows } => {
            let model = Model::load(&model)?;
            serve(SYSTEM, || model.decode(&tokens, new_tokens, &positions, &rows))
        }
    }
}

struct Model {
    llama: Llama,
    config: Config,
}

impl Model {
    fn load(folder: &Path) -> Result<Self> {
        let json = fs::read(folder.join("config.json"))?;
        let config = serde_json::from_slice::<LlamaConfig>(&json)?.into_config(false);
        let weights = fs::read(folder.join("model.safetensors"))?;
        let weights = VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu)?;
        Ok(Self { llama: Llama::load(weights, &config)?, config })
    }

    fn cache(&self) -> Result<Cache> {
        Ok(Cache::new(true, DType::F32, &self.config, &Device::Cpu)?)
    }

    fn prefill(&self, tokens: &[u32]) -> Result<Reply> {
        let mut cache = self.cache()?;
        let begin = Instant::now();
        let tokens = Tensor::new(tokens, &Device::Cpu)?.unsqueeze(0)?;
        let logits = self.llama.forward(&tokens, 0, &mut cache)?;
        let seconds = begin.elapsed().as_secs_f64();
        let log_probs = log_softmax(&logits, D::Minus1)?.flatten_all()?.to_vec1::<f32>()?;
        let result = log_probs.into_iter().map(f64::from).collect();
        Ok(Reply { parts: vec![("prefill".into(), seconds)], result, ..Reply::default() })
    }

    fn decode(
        &self,
        tokens: &[u32],
        new: usize,
        positions: &[usize],
        rows: &[usize],
    ) -> Result<Reply> {
        let mut reply = Reply::default();
        for &rows in rows {
            for &position in positions {
                let (context, given) = tokens[..position].split_at(position - new);
                let mut cache = self.cache()?;
                let repeated = Tensor::new(context, &Device::Cpu)?.repeat((rows, 1))?;
                self.llama.forward(&repeated, 0, &mut cache)?;
                let mut kept = Vec::new();
                let begin = Instant::now();
                for (place, token) in (context.len()..).zip(given) {
                    let token = Tensor::full(*token, (rows, 1), &Device::Cpu)?;
                    let logits = self.llama.forward(&token, place, &mut cache)?;
                    logits.argmax(D::Minus1)?.to_vec1::<u32>()?;
                    kept.push(logits);
                }
                reply.parts.push((format!("{rows} × {position}"), begin.elapsed().as_secs_f64()));
                for logits in kept {
                    let best = log_softmax(&logits, D::Minus1)?.max(D::Minus1)?.to_vec1::<f32>()?;
                    reply.result.extend(best.into_iter().map(f64::from));
                }
            }
        }
        Ok(reply)
    }
}
