//! `adapter_config.json`: every key looked at, accepted or refused by name.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{
    CONFIG, MERGE, MLX,
    targets::{Modules, Targets},
};
use crate::LoraConfig;

/// Keys whose value this crate reads, or that change nothing in the forward pass.
const READ: &[&str] = &[
    "peft_type",
    "r",
    "lora_alpha",
    "lora_dropout",
    "rank_pattern",
    "alpha_pattern",
    "target_modules",
    "exclude_modules",
    "use_rslora",
    "bias",
    "task_type",
    "base_model_name_or_path",
    "revision",
    "inference_mode",
    "init_lora_weights",
    "eva_config", // of that start alone
    "layers_to_transform",
    "layers_pattern",
    "peft_version",
    "auto_mapping",
    // PEFT turns it off for linear layers too, which all of these are.
    "fan_in_fan_out",
    // How tied weights are saved.
    "ensure_weight_tying",
    // Saved beside the factors; whether they differ from the base's is looked at there.
    "modules_to_save",
    // How a forward pass is run.
    "runtime_config",
];

/// Further keys of PEFT 0.21: methods that this crate does not run.
const METHODS: &[&str] = &[
    "alora_invocation_tokens",
    "arrow_config",
    "corda_config",
    "kasa_config",
    "layer_replication",
    "loftq_config",
    "lora_bias",
    "lora_ga_config",
    "megatron_config",
    "megatron_core",
    "monteclora_config",
    "qalora_group_size",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_dora",
    "use_qalora",
    "velora_config",
];

/// The version of PEFT whose keys these are.
const VERSION: (u64, u64) = (0, 21);

/// Ways to start that change A and B alone. PiSSA, OLoRA, CorDA, LoftQ and LoRA-GA change the
/// base's weights too.
const STARTS: &[&str] = &["gaussian", "orthogonal", "eva"];

/// Keys of methods that are off at these defaults (PEFT 0.21).
const DEFAULTS: &[(&str, &str)] =
    &[("megatron_core", "megatron.core"), ("qalora_group_size", "16")];

/// What a configuration says of the adapter's shape, and which layers it adapts.
pub(super) fn parse_config(
    json: &Map<String, Value>,
    label: &str,
) -> Result<(LoraConfig, Targets), String> {
    let number = |key: &str, default: f64| match json.get(key) {
        None => Ok(default),
        Some(value) => value.as_f64().ok_or_else(|| format!("{key} = {value}; a number is wanted")),
    };
    match json.get("peft_type") {
        Some(Value::String(kind)) if kind == "LORA" => {}
        Some(Value::String(kind)) => {
            return Err(format!("peft_type is {kind}; only LORA is supported"));
        }
        _ if json.contains_key("fine_tune_type") => return Err(MLX.into()),
        _ => return Err("peft_type is missing; only LORA is supported".into()),
    }
    if let Some(bias) = json.get("bias").filter(|bias| !bias.is_null() && *bias != "none") {
        return Err(format!("bias = {bias} is not supported; {MERGE}"));
    }
    let newer = json
        .get("peft_version")
        .and_then(Value::as_str)
        .and_then(version)
        .is_some_and(|v| v > VERSION);
    for (key, value) in json {
        let off = match value {
            Value::Null | Value::Bool(false) => true,
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            Value::String(text) => {
                text.is_empty() || DEFAULTS.contains(&(key.as_str(), text.as_str()))
            }
            other => DEFAULTS.contains(&(key.as_str(), other.to_string().as_str())),
        };
        if off || READ.contains(&key.as_str()) {
            continue;
        }
        if METHODS.contains(&key.as_str()) {
            return Err(format!("{key} = {value} is not supported; {MERGE}"));
        }
        if newer {
            return Err(format!(
                "{key} = {value} is not known, and a newer PEFT than {}.{} wrote the file: it may \
                 change the model",
                VERSION.0, VERSION.1
            ));
        }
        tracing::warn!("{label}: {CONFIG}: {key} is no key of PEFT and is passed over");
    }
    match json.get("init_lora_weights") {
        Some(Value::String(start)) if !STARTS.contains(&start.as_str()) => {
            return Err(format!(
                "init_lora_weights = {start:?} changes the base's weights; convert it to a plain \
                 LoRA with PEFT first"
            ));
        }
        _ => {}
    }
    let modules = match json.get("target_modules") {
        // PEFT chooses by the kind of model; the file shows what it chose.
        None | Some(Value::Null) => Modules::Found,
        Some(value) => Modules::read("target_modules", value)?,
    };
    let excluded = match json.get("exclude_modules") {
        None | Some(Value::Null) => None,
        Some(Value::Array(list)) if list.is_empty() => None,
        Some(Value::String(text)) if text.is_empty() => None,
        Some(value) => Some(Modules::read("exclude_modules", value)?),
    };
    let block = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok());
    let blocks = match json.get("layers_to_transform") {
        None | Some(Value::Null) => None,
        Some(Value::Array(list)) if list.is_empty() => None,
        Some(value) => {
            let list = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
            let list: Option<BTreeSet<usize>> = list.iter().map(block).collect();
            Some(list.ok_or_else(|| {
                format!("layers_to_transform = {value} is no list of block numbers")
            })?)
        }
    };
    let plain = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty() || text == "layers",
        Value::Array(list) => list.iter().all(|name| name == "layers" || name == ""),
        _ => false,
    };
    if let Some(pattern) = json.get("layers_pattern").filter(|value| !plain(value)) {
        return Err(format!(
            "layers_pattern = {pattern} is not supported; these models' blocks are called layers"
        ));
    }
    // What a file leaves out has PEFT's defaults.
    let (rank, alpha) = (number("r", 8.0)?, number("lora_alpha", 8.0)?);
    if rank.fract() != 0.0 || !(1.0..=1024.0).contains(&rank) {
        return Err(format!("r = {rank}; a whole number from 1 to 1024 is wanted"));
    }
    if !(alpha.is_finite() && alpha >= 0.0) {
        return Err(format!("lora_alpha = {alpha}; a number that is not negative is wanted"));
    }
    let config = LoraConfig {
        rank: rank as usize,
        alpha,
        dropout: number("lora_dropout", 0.0)?,
        use_rslora: json.get("use_rslora").and_then(Value::as_bool).unwrap_or(false),
        ..LoraConfig::default()
    };
    Ok((config, Targets { modules, excluded, blocks }))
}

/// The first two numbers of a version.
fn version(text: &str) -> Option<(u64, u64)> {
    let mut parts = text.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(change: (&str, Value)) -> Result<LoraConfig, String> {
        let mut json = json!({
            "peft_type": "LORA", "r": 8, "lora_alpha": 16, "lora_dropout": 0.1, "bias": "none",
            "target_modules": ["q_proj", "v_proj"], "use_dora": false, "modules_to_save": null,
            "rank_pattern": {}, "megatron_core": "megatron.core", "qalora_group_size": 16
        });
        json[change.0] = change.1;
        parse_config(json.as_object().unwrap(), "test").map(|(config, _)| config)
    }

    #[test]
    fn what_is_off_is_accepted() {
        let read = config(("use_rslora", true.into())).unwrap();
        assert_eq!((read.rank, read.alpha, read.dropout), (8, 16.0, 0.1));
        assert_eq!(read.scale(), 16.0 / 8f64.sqrt());
        config(("target_modules", "all-linear".into())).unwrap();
        config(("init_lora_weights", "gaussian".into())).unwrap();
        config(("init_lora_weights", "eva".into())).unwrap();
        config(("eva_config", json!({"rho": 1.0, "tau": 0.99, "use_label_mask": true}))).unwrap();
        config(("layers_pattern", "layers".into())).unwrap();
    }

    #[test]
    fn what_is_on_is_refused_by_name() {
        for (key, value) in [
            ("use_dora", true.into()),
            ("target_parameters", json!(["experts"])),
            ("qalora_group_size", 32.into()),
            ("r", 2.5.into()),
            ("lora_alpha", "8".into()),
            ("bias", "all".into()),
            ("peft_type", "IA3".into()),
            ("target_modules", json!([])),
            ("target_modules", "(".into()),
            ("init_lora_weights", "pissa".into()),
            ("layers_to_transform", "1".into()),
            ("layers_pattern", "h".into()),
        ] {
            let error = config((key, value)).unwrap_err();
            assert!(error.contains(key), "{error}");
        }
    }

    #[test]
    fn what_peft_reads_leniently_is_read_so() {
        for (key, value) in [
            ("layers_pattern", "".into()),
            ("fan_in_fan_out", true.into()),
            ("unsloth_version", "2025.3.19".into()),
            ("exclude_modules", json!(["lm_head"])),
            ("target_modules", Value::Null),
            ("lora_alpha", 0.into()),
            ("r", 8.0.into()),
        ] {
            config((key, value)).unwrap();
        }
        let json = json!({"peft_type": "LORA", "target_modules": ["q_proj"]});
        let (config, _) = parse_config(json.as_object().unwrap(), "test").unwrap();
        assert_eq!((config.rank, config.alpha), (8, 8.0));
        // A newer PEFT's key may change the model.
        let json = json!({
            "peft_type": "LORA", "target_modules": ["q_proj"], "peft_version": "0.22.0",
            "use_x": true
        });
        assert!(parse_config(json.as_object().unwrap(), "test").unwrap_err().contains("use_x"));
        let json = json!({"fine_tune_type": "lora", "num_layers": 16});
        assert!(parse_config(json.as_object().unwrap(), "test").unwrap_err().contains("mlx-lm"));
    }
}
