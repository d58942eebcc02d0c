//! The model: score, train, read, decode.

use std::{
    hint::black_box,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use anyhow::{Context, Result};
use spring_core::mean_log_likelihood;
use spring_model::{
    Adapter, AnyModel, Decode, Device, LoraConfig, ModelError, ModelFiles, Score, Sequence, Train,
    TrainConfig, TrainRequest,
};

use super::timed;
use crate::{
    protocol::Reply,
    work::{Row, TrainSettings},
};

/// Loads a model as the program does on the CPU.
pub fn load(folder: &Path) -> Result<AnyModel> {
    Ok(AnyModel::load(&ModelFiles::open(folder)?, Device::Cpu)?)
}

fn sequences(rows: Vec<Row>) -> Vec<Sequence> {
    rows.into_iter().map(|row| Sequence { context: row.context, response: row.response }).collect()
}

pub fn first_token(file: PathBuf, tokens: Vec<u32>) -> impl FnMut() -> Result<Reply> {
    move || {
        let (seconds, found) = timed(|| {
            let model = load(&file)?;
            let mut session = model.session()?;
            let row = session.join(&tokens, None, 0)?;
            Ok::<_, anyhow::Error>(best(session.log_probs(row)))
        });
        let parts = vec![("load".into(), seconds)];
        Ok(Reply { parts, result: vec![found?], ..Reply::default() })
    }
}

pub fn adapters(
    file: &Path,
    adapters: &[PathBuf],
    tokens: Vec<u32>,
    new_tokens: usize,
    position: usize,
    rows: Vec<usize>,
) -> Result<impl FnMut() -> Result<Reply>> {
    let model = load(file)?;
    let adapters = adapters
        .iter()
        .map(|path| Ok(Arc::new(Adapter::load_gguf(path, model.config())?)))
        .collect::<Result<Vec<_>>>()?;
    Ok(move || {
        let mut reply = Reply::default();
        let (context, given) = tokens[..position].split_at(position - new_tokens);
        for &count in &rows {
            let mut session = model.session()?;
            let own = adapters.iter().cycle().take(count);
            let all = own
                .map(|adapter| session.join(context, Some(adapter.clone()), new_tokens))
                .collect::<Result<Vec<_>, _>>()?;
            let (seconds, done) = timed(|| {
                for token in given {
                    let tokens: Vec<_> = all.iter().map(|row| (*row, *token)).collect();
                    session.step(&tokens)?;
                    for row in &all {
                        black_box(best(session.log_probs(*row)));
                    }
                }
                Ok::<_, ModelError>(())
            });
            done?;
            reply.parts.push((format!("{count} rows"), seconds));
        }
        Ok(reply)
    })
}

pub fn score(
    folder: &Path,
    rows: Vec<Row>,
    adapter: Option<&Path>,
) -> Result<impl FnMut() -> Result<Reply>> {
    let model = load(folder)?;
    let sequences = sequences(rows);
    let adapter = adapter.map(Adapter::load_peft).transpose()?;
    Ok(move || {
        let rows: Vec<_> = sequences.iter().map(|row| (row, adapter.as_ref())).collect();
        let (seconds, scores) = timed(|| model.score(&rows));
        let result = scores?.iter().map(|tokens| mean_log_likelihood(tokens)).collect();
        Ok(Reply { parts: vec![("score".into(), seconds)], result, ..Reply::default() })
    })
}

pub fn train(
    folder: &Path,
    rows: Vec<Row>,
    steps: usize,
    settings: &TrainSettings,
) -> Result<impl FnMut() -> Result<Reply>> {
    let model = load(folder)?;
    let sequences = sequences(rows);
    let longest = sequences.iter().map(Sequence::len).max().unwrap_or(0);
    let lora = LoraConfig::default()
        .with_rank(settings.rank)
        .with_alpha(settings.alpha)
        .with_dropout(settings.dropout);
    let config = TrainConfig::default()
        .with_learning_rate(settings.learning_rate)
        .with_warmup(settings.warmup)
        .with_epochs(steps)
        .with_batch_size(sequences.len())
        .with_max_grad_norm(settings.max_grad_norm)
        .with_beta1(settings.beta1)
        .with_beta2(settings.beta2)
        .with_epsilon(settings.epsilon)
        .with_weight_decay(settings.weight_decay)
        .with_max_tokens(longest)
        // The other side reads it at each step too.
        .with_loss_interval(1);
    Ok(move || {
        let follow = &mut |_| ControlFlow::Continue(());
        let (seconds, outcome) =
            timed(|| model.train(TrainRequest::new(&lora, &sequences, &config, 1), follow));
        let first = outcome?.losses.first().copied().context("no loss was read")?;
        Ok(Reply {
            parts: vec![("train".into(), seconds)],
            result: vec![first.into()],
            ..Reply::default()
        })
    })
}

pub fn prefill(folder: &Path, tokens: Vec<u32>) -> Result<impl FnMut() -> Result<Reply>> {
    let model = load(folder)?;
    Ok(move || {
        let mut result = Vec::new();
        let (seconds, done) = timed(|| {
            let mut session = model.session()?;
            let row = session.join(&tokens, None, 0)?;
            result =
                session.log_probs(row).unwrap_or_default().iter().map(|x| f64::from(*x)).collect();
            Ok::<_, ModelError>(())
        });
        done?;
        Ok(Reply { parts: vec![("prefill".into(), seconds)], result, ..Reply::default() })
    })
}

pub fn decode(
    folder: &Path,
    tokens: Vec<u32>,
    new_tokens: usize,
    positions: Vec<usize>,
    rows: Vec<usize>,
) -> Result<impl FnMut() -> Result<Reply>> {
    let model = load(folder)?;
    Ok(move || {
        let mut reply = Reply::default();
        for rows in &rows {
            for position in &positions {
                let (context, given) = tokens[..*position].split_at(position - new_tokens);
                let mut session = model.session()?;
                let all = (0..*rows)
                    .map(|_| session.join(context, None, new_tokens))
                    .collect::<Result<Vec<_>, _>>()?;
                let begin = Instant::now();
                for token in given {
                    let tokens: Vec<_> = all.iter().map(|row| (*row, *token)).collect();
                    session.step(&tokens)?;
                    reply.result.extend(all.iter().map(|row| best(session.log_probs(*row))));
                }
                let seconds = begin.elapsed().as_secs_f64();
                reply.parts.push((format!("{rows} × {position}"), seconds));
            }
        }
        Ok(reply)
    })
}

/// The largest log-probability of a row: what a greedy choice looks for.
fn best(log_probs: Option<&[f32]>) -> f64 {
    log_probs.unwrap_or_default().iter().copied().fold(f32::NEG_INFINITY, f32::max).into()
}
