//! What the program carries: a small base model and one person's history.

use std::{io::IsTerminal, path::Path};

use anyhow::{Context, Result};
use spring_core::Tokenize;
use spring_lm::Adapter;
use spring_model::{AnyModel, LoadOptions, ModelFiles};

use crate::{args::Args, files, system};

/// The name of the built-in model in arguments and states.
pub const NAME: &str = "embedded";

/// The built-in person's history, as JSONL.
pub const HISTORY: &str = include_str!("../demo/history.jsonl");

/// What precedes the name of a model to download.
pub const HUB: &str = "hub:";

/// The files of a model: the built-in one by its name, one of a hub by `hub:owner/name` or
/// `hub:owner/name/file.gguf`, others by their folder or GGUF file.
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
        // The cache is shared with other programs, perhaps with other people.
        return Ok(system::for_everybody(|| ModelFiles::from_hub(name, progress))?);
    }
    // A pipe would be waited for.
    match Path::new(model) {
        folder if folder.is_dir() => files::plain_within(folder)?,
        file => files::plain(file)?,
    }
    if !Path::new(model).exists() {
        anyhow::bail!(
            "{model}: no such folder or file; --model takes a folder in the Hugging Face layout, a \
             GGUF file, {HUB}owner/name or {HUB}owner/name/file.gguf to download one, or \"{NAME}\""
        );
    }
    Ok(ModelFiles::open(model)?)
}

/// Loads a model that is to learn responses: one that knows the token after them.
pub fn load_learner(model: &str, args: &Args) -> Result<AnyModel> {
    learner_of(&model_files(model)?, model, args)
}

/// The same of files at hand.
pub fn learner_of(files: &ModelFiles, model: &str, args: &Args) -> Result<AnyModel> {
    let loaded = load_files(files, model, args)?;
    // Without one, no text could be learned.
    loaded.tokenizer().with_context(|| format!("the model {model}"))?;
    if loaded.info().eos.is_empty() {
        loaded.config().end_token().with_context(|| format!("the model {model}"))?;
    }
    Ok(loaded)
}

/// Loads a model onto the device, in the precision and with the arithmetic of the command line.
pub fn load_model(model: &str, args: &Args) -> Result<AnyModel> {
    load_files(&model_files(model)?, model, args)
}

/// A LoRA adapter for a model of this name: a GGUF file or a PEFT folder.
pub fn adapter(path: &Path, model: &AnyModel, name: &str) -> Result<Adapter> {
    if path.extension().is_some_and(|kind| kind == "gguf") {
        files::plain(path)?;
        return Ok(Adapter::load_gguf(path, model.config())?);
    }
    if path.is_dir() {
        files::plain_within(path)?;
    }
    Ok(Adapter::load_peft_for(path, &model_files(name)?)?)
}

fn load_files(files: &ModelFiles, model: &str, args: &Args) -> Result<AnyModel> {
    system::start_threads()?;
    let options = LoadOptions::default()
        .with_device(args.device)
        .with_precision(args.precision)
        .with_arithmetic(args.arithmetic);
    AnyModel::load_with(files, &options).with_context(|| format!("loading the model {model}"))
}
