//! PEFT adapter folders: `adapter_config.json` and `adapter_model.safetensors`.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::{Adapter, LoraConfig, ModelError, Projection, Result, checkpoint::read_small};

const PREFIX: &str = "base_model.model.model.";
/// Where a folder that this crate wrote notes its base model; PEFT ignores it.
const FINGERPRINT: &str = "spring.json";

/// Keys whose value this crate reads, or that change nothing in the forward pass.
const READ: &[&str] = &[
    "peft_type",
    "r",
    "lora_alpha",
    "lora_dropout",
    "target_modules",
    "use_rslora",
    "bias",
    "task_type",
    "base_model_name_or_path",
    "revision",
    "inference_mode",
    "init_lora_weights",
    "peft_version",
    "auto_mapping",
];

/// Keys of methods that are off at these defaults (PEFT 0.21).
const DEFAULTS: &[(&str, &str)] = &[("megatron_core", "megatron.core"), ("qalora_group_size", "16")];

impl Adapter {
    /// Loads a PEFT folder.
    ///
    /// Every key of its configuration is looked at: one that this crate does not implement is accepted when it is null,
    /// false, empty or PEFT's default, and refused by name otherwise. The adapter's fingerprint is empty unless this
    /// crate wrote the folder.
    ///
    /// # Errors
    ///
    /// [`ModelError::Io`] for a missing file, [`ModelError::Adapter`] for everything that would not load whole.
    pub fn load_peft(dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref();
        let label = dir.display().to_string();
        let fail = |reason: String| ModelError::Adapter { adapter: label.clone(), reason };
        let json: Map<String, Value> = serde_json::from_slice(&read_small(&dir.join("adapter_config.json"))?)
            .map_err(|e| fail(format!("adapter_config.json: {e}")))?;
        let config = parse_config(&json).map_err(|e| fail(format!("adapter_config.json: {e}")))?;
        config.check()?;
        let base = match read_small(&dir.join(FINGERPRINT)) {
            Ok(bytes) => {
                let value: Value =
                    serde_json::from_slice(&bytes).map_err(|e| fail(format!("{FINGERPRINT}: {e}")))?;
                value["base"].as_str().unwrap_or_default().to_owned()
            }
            Err(_) => String::new(),
        };
        let path = dir.join("adapter_model.safetensors");
        let bytes = std::fs::read(&path).map_err(|source| ModelError::Io { path, source })?;
        Self::from_safetensors(&bytes, PREFIX, config, base, &label)
    }

    /// Writes a folder that PEFT loads, creating it if need be.
    ///
    /// # Errors
    ///
    /// [`ModelError::Io`], naming the file.
    pub fn save_peft(&self, dir: impl AsRef<Path>) -> Result<()> {
        let dir = dir.as_ref();
        let fail = |reason: String| ModelError::Adapter { adapter: dir.display().to_string(), reason };
        let targets: Vec<_> = self.config.targets.iter().map(|p| p.name()).collect();
        let config = json!({
            "peft_type": "LORA", "task_type": "CAUSAL_LM", "inference_mode": true, "bias": "none",
            "r": self.config.rank, "lora_alpha": self.config.alpha, "lora_dropout": self.config.dropout,
            "use_rslora": self.config.use_rslora, "target_modules": targets, "base_model_name_or_path": null,
        });
        let weights =
            self.to_safetensors(PREFIX, [("format".to_string(), "pt".to_string())].into()).map_err(fail)?;
        let write = |name: &str, bytes: &[u8]| {
            let path = dir.join(name);
            std::fs::write(&path, bytes).map_err(|source| ModelError::Io { path, source })
        };
        std::fs::create_dir_all(dir).map_err(|source| ModelError::Io { path: dir.into(), source })?;
        write("adapter_config.json", format!("{config:#}\n").as_bytes())?;
        write(FINGERPRINT, format!("{}\n", json!({ "base": self.base })).as_bytes())?;
        write("adapter_model.safetensors", &weights)
    }
}

fn parse_config(json: &Map<String, Value>) -> std::result::Result<LoraConfig, String> {
    let number =
        |key: &str| json.get(key).and_then(Value::as_f64).ok_or(format!("{key} is missing or no number"));
    match json.get("peft_type").and_then(Value::as_str) {
        Some("LORA") => {}
        other => return Err(format!("peft_type is {other:?}; only \"LORA\" is supported")),
    }
    if let Some(bias) = json.get("bias").and_then(Value::as_str).filter(|b| *b != "none") {
        return Err(format!("bias = {bias:?} is not supported"));
    }
    for (key, value) in json {
        let off = match value {
            Value::Null | Value::Bool(false) => true,
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            Value::String(text) => text.is_empty() || DEFAULTS.contains(&(key.as_str(), text.as_str())),
            other => DEFAULTS.contains(&(key.as_str(), other.to_string().as_str())),
        };
        if !off && !READ.contains(&key.as_str()) {
            return Err(format!("{key} = {value} is not supported"));
        }
    }
    let targets = match json.get("target_modules") {
        Some(Value::String(all)) if all == "all-linear" => Projection::ALL.to_vec(),
        Some(Value::Array(names)) => names
            .iter()
            .map(|name| {
                let known = Projection::ALL.into_iter().find(|p| name.as_str() == Some(p.name()));
                known.ok_or_else(|| {
                    format!("target_modules names {name}, which is no linear layer of a block")
                })
            })
            .collect::<std::result::Result<_, _>>()?,
        other => return Err(format!("target_modules is {other:?}; a list or \"all-linear\" is supported")),
    };
    let rank = json.get("r").and_then(Value::as_u64).ok_or("r is missing or no whole number")?;
    Ok(LoraConfig {
        rank: usize::try_from(rank).map_err(|e| e.to_string())?,
        alpha: number("lora_alpha")?,
        dropout: number("lora_dropout").unwrap_or(0.0),
        use_rslora: json.get("use_rslora").and_then(Value::as_bool).unwrap_or(false),
        targets,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(change: (&str, Value)) -> std::result::Result<LoraConfig, String> {
        let mut json = json!({
            "peft_type": "LORA", "r": 8, "lora_alpha": 16, "lora_dropout": 0.1, "bias": "none",
            "target_modules": ["q_proj", "v_proj"], "use_dora": false, "modules_to_save": null,
            "rank_pattern": {}, "megatron_core": "megatron.core", "qalora_group_size": 16
        });
        json[change.0] = change.1;
        parse_config(json.as_object().unwrap())
    }

    #[test]
    fn what_is_off_is_accepted() {
        let read = config(("use_rslora", true.into())).unwrap();
        assert_eq!((read.rank, read.alpha, read.dropout), (8, 16.0, 0.1));
        assert_eq!(read.scale(), 16.0 / 8f64.sqrt());
        assert_eq!(config(("target_modules", "all-linear".into())).unwrap().targets.len(), 7);
    }

    #[test]
    fn what_is_on_is_refused_by_name() {
        for (key, value) in [
            ("use_dora", true.into()),
            ("modules_to_save", json!(["lm_head"])),
            ("rank_pattern", json!({"q_proj": 4})),
            ("qalora_group_size", 32.into()),
            ("a_key_of_tomorrow", 1.into()),
            ("bias", "all".into()),
            ("peft_type", "IA3".into()),
            ("target_modules", json!(["c_attn"])),
        ] {
            let error = config((key, value)).unwrap_err();
            assert!(error.contains(key), "{error}");
        }
    }
}
