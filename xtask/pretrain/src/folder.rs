//! Folders: the small files of a model, and a checkpoint that is replaced whole.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::{
    codec::{Codec, SPECIAL},
    settings::Shape,
};

/// The `config.json` of a Llama.
pub fn config(shape: &Shape, vocabulary: usize, codec: &Codec) -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": false,
        "attention_dropout": 0.0,
        "bos_token_id": codec.begin,
        "eos_token_id": codec.end,
        "head_dim": shape.hidden / shape.heads.max(1),
        "hidden_act": "silu",
        "hidden_size": shape.hidden,
        "initializer_range": 0.02,
        "intermediate_size": shape.intermediate,
        "max_position_embeddings": shape.context,
        "mlp_bias": false,
        "model_type": "llama",
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "num_key_value_heads": shape.kv_heads,
        "pad_token_id": 0,
        "rms_norm_eps": 1e-5,
        "rope_parameters": { "rope_theta": shape.rope_theta, "rope_type": "default" },
        "rope_theta": shape.rope_theta,
        "tie_word_embeddings": !shape.untied,
        "use_cache": true,
        "vocab_size": vocabulary,
    })
}

/// Writes all of a model folder but its weights.
///
/// # Errors
///
/// If a file cannot be written.
pub fn write_files(dir: &Path, config: &Value, dtype: &str, codec: &Codec) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let mut config = config.clone();
    config["dtype"] = dtype.into();
    write_json(&dir.join("config.json"), &config)?;
    let generation =
        json!({ "bos_token_id": codec.begin, "eos_token_id": codec.end, "pad_token_id": 0 });
    write_json(&dir.join("generation_config.json"), &generation)?;
    let tokenizer = json!({
        "bos_token": SPECIAL[1],
        "eos_token": SPECIAL[2],
        "pad_token": SPECIAL[0],
        "model_max_length": config["max_position_embeddings"],
        "tokenizer_class": "PreTrainedTokenizerFast",
    });
    write_json(&dir.join("tokenizer_config.json"), &tokenizer)?;
    codec.write(&dir.join("tokenizer.json"))
}

/// Writes indented JSON.
///
/// # Errors
///
/// If the file cannot be written.
pub fn write_json(file: &Path, value: &Value) -> Result<()> {
    fs::write(file, format!("{value:#}\n"))
        .with_context(|| format!("cannot write {}", file.display()))
}

/// Reads JSON.
///
/// # Errors
///
/// If the file is missing or malformed.
pub fn read_json(file: &Path) -> Result<Value> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", file.display()))
}

/// Replaces the folder `dir` by one that `fill` fills: after a crash it is the old or the new one,
/// by [`find`].
///
/// # Errors
///
/// What `fill` returns, or a file system that refuses.
pub fn replace(dir: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let (new, old) = (beside(dir, "new"), beside(dir, "old"));
    remove(&new)?;
    fs::create_dir_all(&new).with_context(|| format!("cannot create {}", new.display()))?;
    fill(&new)?;
    for entry in fs::read_dir(&new)? {
        fs::File::open(entry?.path())?.sync_all()?;
    }
    remove_if(&old, dir.exists())?;
    if dir.exists() {
        fs::rename(dir, &old)?;
    }
    fs::rename(&new, dir)?;
    remove(&old)
}

/// The folder that [`replace`] wrote last: a crash between its two renames leaves the old one under
/// another name.
pub fn find(dir: &Path) -> Option<PathBuf> {
    [dir.to_owned(), beside(dir, "old")].into_iter().find(|dir| dir.exists())
}

fn beside(dir: &Path, suffix: &str) -> PathBuf {
    dir.with_extension(suffix)
}

fn remove(dir: &Path) -> Result<()> {
    remove_if(dir, true)
}

fn remove_if(dir: &Path, really: bool) -> Result<()> {
    if really && dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    Ok(())
}
