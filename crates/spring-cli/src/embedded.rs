//! What the program carries: a small base model and one person's history.

use std::path::Path;

use anyhow::{Context, Result};
use spring_core::spring_model::{AnyModel, Device, ModelFiles};

/// The name of the built-in model in arguments and states.
pub const NAME: &str = "embedded";

/// The built-in person's history, as JSONL.
pub const HISTORY: &str = include_str!("../demo/history.jsonl");

/// The files of a model: the built-in one by its name, others by their folder.
pub fn model_files(model: &str) -> Result<ModelFiles> {
    if model == NAME {
        return Ok(ModelFiles::from_static(
            NAME,
            include_bytes!("../model/config.json"),
            include_bytes!("../model/tokenizer.json"),
            include_bytes!("../model/model.safetensors"),
        ));
    }
    if !Path::new(model).is_dir() {
        anyhow::bail!(
            "{model}: no such folder; --model takes a folder in the Hugging Face layout, or \"{NAME}\""
        );
    }
    Ok(ModelFiles::from_dir(model)?)
}

/// Loads a model onto a device.
pub fn load_model(model: &str, device: Device) -> Result<AnyModel> {
    AnyModel::load(&model_files(model)?, device).with_context(|| format!("loading the model {model}"))
}
