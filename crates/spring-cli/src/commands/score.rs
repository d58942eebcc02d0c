//! `spring score`

use std::io::BufReader;

use anyhow::{Result, bail};
use serde_json::json;
use spring_core::{Config, Error, StoredInteraction, Tokenize, spring_memory::JsonlReader};
use spring_eval::{Loss, encode, losses};
use spring_lm::TrainConfig;

use crate::{
    args::{Args, ScoreArgs},
    embedded,
    files::Input,
    interrupt::{self, Interrupted},
    output,
};

/// Texts held at a time.
const PAGE: usize = 256;

pub fn run(args: &Args, command: &ScoreArgs) -> Result<()> {
    let input = Input::open(&command.file)?;
    let model = embedded::load_model(&command.model, args)?;
    let adapter = command.adapter.as_deref();
    let adapter =
        adapter.map(|path| embedded::adapter(path, &model, &command.model)).transpose()?;
    // Nothing is trained, so a text may use the whole context.
    let training = TrainConfig::default().with_max_tokens(model.info().context);
    let config = Config::default().with_training(training);
    let label = input.label.clone();
    let mut lines = JsonlReader::new(BufReader::new(input), label.clone()).peekable();
    let (mut total, mut cut) = (Vec::new(), 0);
    while lines.peek().is_some() {
        let page = lines.by_ref().take(PAGE).map(|line| {
            let (seq, interaction) = line.map_err(Error::from)?;
            Ok(StoredInteraction::new(seq, interaction))
        });
        let page = match page.collect::<Result<Vec<_>>>() {
            Err(_) if interrupt::requested() => return Err(Interrupted.into()),
            other => other?,
        };
        let texts = encode(&model, &config, &page)?;
        cut += texts.iter().filter(|text| !text.cuts.is_empty()).count();
        let scored = losses(&model, &[adapter.as_ref()], &texts)?;
        // A mean over such a text would be no number either.
        if scored.iter().any(|loss| !loss.per_token().is_finite()) {
            for (text, encoded) in page.iter().zip(&texts) {
                let alone = losses(&model, &[adapter.as_ref()], std::slice::from_ref(encoded))?;
                if alone.iter().any(|loss| !loss.per_token().is_finite()) {
                    bail!(
                        "{label}:{}: the model gives this text no finite likelihood: its weights, \
                         or the adapter's, are \
                         too large or damaged",
                        text.seq
                    );
                }
            }
            bail!("{label}: the model gives these texts no finite likelihood");
        }
        total.extend(scored);
        if interrupt::requested() {
            return Err(Interrupted.into());
        }
    }
    let loss: Loss = total.into_iter().sum();
    if loss.texts == 0 {
        bail!("{label}: no interactions");
    }
    if cut > 0 {
        output::say(&format!(
            "spring: warning: {cut} of {} texts were longer than the context and were cut",
            loss.texts
        ));
    }
    if args.json {
        return output::json(&json!({
            "texts": loss.texts, "tokens": loss.tokens, "bytes": loss.bytes,
            "nats_per_token": loss.per_token(),
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
