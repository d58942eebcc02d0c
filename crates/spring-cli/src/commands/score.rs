//! `spring score`

use std::{fs::File, io::BufReader};

use anyhow::{Result, bail};
use serde_json::json;
use spring_core::{Config, Error, StoredInteraction, Tokenize, spring_memory::JsonlReader};
use spring_eval::{Loss, encode, losses};
use spring_lm::{Adapter, TrainConfig};

use crate::{
    args::{Args, ScoreArgs},
    embedded,
    interrupt::{self, Interrupted},
    output,
};

/// Texts held at a time.
const PAGE: usize = 256;

pub fn run(args: &Args, command: &ScoreArgs) -> Result<()> {
    let model = embedded::load_model(&command.model, args)?;
    let adapter = command.adapter.as_ref().map(Adapter::load_peft).transpose()?;
    // Nothing is trained, so a text may use the whole context.
    let training = TrainConfig { max_tokens: model.info().context, ..TrainConfig::default() };
    let config = Config { training, ..Config::default() };
    let path = &command.file;
    let file = File::open(path).map_err(|source| Error::Io { path: path.clone(), source })?;
    let mut lines = JsonlReader::new(BufReader::new(file), path.display().to_string()).peekable();
    let (mut total, mut cut) = (Vec::new(), 0);
    while lines.peek().is_some() {
        let page = lines.by_ref().take(PAGE).map(|line| {
            let (seq, interaction) = line.map_err(Error::from)?;
            Ok(StoredInteraction { seq, interaction, base: None })
        });
        let texts = encode(&model, &config, &page.collect::<Result<Vec<_>>>()?)?;
        cut += texts.iter().filter(|text| !text.cuts.is_empty()).count();
        total.extend(losses(&model, &[adapter.as_ref()], &texts)?);
        if interrupt::requested() {
            return Err(Interrupted.into());
        }
    }
    let loss: Loss = total.into_iter().sum();
    if loss.texts == 0 {
        bail!("{}: no interactions", path.display());
    }
    if cut > 0 {
        eprintln!("spring: warning: {cut} of {} texts were longer than the context and were cut", loss.texts);
    }
    if args.json {
        return output::json(&json!({
            "texts": loss.texts, "tokens": loss.tokens, "bytes": loss.bytes, "nats_per_token": loss.per_token(),
            "nats_per_byte": loss.per_byte(), "perplexity": loss.perplexity(), "cut": cut
        }));
    }
    output::line(&format!(
        "{} texts, {} tokens: {:.4} nats/token, {:.4} nats/byte, perplexity {:.2}",
        loss.texts,
        loss.tokens,
        loss.per_token(),
        loss.per_byte(),
        loss.perplexity()
    ))
}
