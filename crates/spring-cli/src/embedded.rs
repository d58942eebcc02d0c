//! What the program carries: a small base model and one person's history.

use std::{io::IsTerminal, path::Path};

use anyhow::{Context, Result};
use spring_core::Tokenize;
use spring_model::{AnyModel, ModelFiles};

use crate::args::Args;

/// The name of the built-in model in arguments and states.
pub const NAME: &str = "embedded";

/// The built-in person's history, as JSONL.
pub const HISTORY: &str = include_str!("../demo/history.jsonl");

/// What precedes the name of a model to download.
pub const HUB: &str = "hub:";

/// The files of a model: the built-in one by its name, one of a hub by `hub:owner/name`, others by
/// their folder.
pub fn model_files(model: &str) -> Result<ModelFiles> {
    if model == NAME {
        return Ok(ModelFiles::from_static(
            NAME,
            include_bytes!("../model/config.json"),
            include_bytes!("../model/tokenizer.json"),
            include_bytes!("../model/model.safetensors"),
        ));
    }
    if let Some(name) = model.strip_prefix(HUB) {
        let progress = std::io::stderr().is_terminal();
        return Ok(ModelFiles::from_hub(name, progress)?);
    }
    if !Path::new(model).is_dir() {
        anyhow::bail!(
            "{model}: no such folder; --model takes a folder in the Hugging Face layout, \
             {HUB}owner/name to download one, \
             or \"{NAME}\""
        );
    }
    Ok(ModelFiles::from_dir(model)?)
}

/// Loads a model that is to learn responses: one that knows the token after them.
pub fn load_learner(model: &str, args: &Args) -> Result<AnyModel> {
    let loaded = load_model(model, args)?;
    // Without one, no text could be learned.
    loaded.tokenizer().with_context(|| format!("the model {model}"))?;
    if loaded.info().eos.is_empty() {
        loaded.config().end_token().with_context(|| format!("the model {model}"))?;
    }
    Ok(loaded)
}

/// Loads a model onto the device and in the precision of the command line.
pub fn load_model(model: &str, args: &Args) -> Result<AnyModel> {
    AnyModel::load_as(&model_files(model)?, args.precision, args.device)
        .with_context(|| format!("loading the model {model}"))
}
