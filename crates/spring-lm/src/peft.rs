//! PEFT adapter folders: `adapter_config.json` and `adapter_model.safetensors`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use fancy_regex::Regex;
use serde_json::{Map, Value, json};

use crate::{
    Adapter, LoraConfig, ModelError, Projection, Result,
    adapter::{LoraPair, read_factors},
    checkpoint::read_small,
    tensor_names::{canonical, is_vision},
    weights::Weights,
};

const PREFIX: &str = "base_model.model.";
/// Where the blocks of a text model are, and those of a multimodal one by its newer and its older layout.
const BLOCKS: [&str; 3] = ["model.layers.", "model.language_model.layers.", "language_model.model.layers."];
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
    "eva_config", // of that start alone
    "layers_to_transform",
    "layers_pattern",
    "peft_version",
    "auto_mapping",
];

/// Ways to start that change A and B alone. PiSSA, OLoRA, CorDA, LoftQ and LoRA-GA change the base's weights too.
const STARTS: &[&str] = &["gaussian", "orthogonal", "eva"];

/// A pattern of a user's file is matched against some hundred module names.
const MAX_PATTERN: usize = 4096;

/// Keys of methods that are off at these defaults (PEFT 0.21).
const DEFAULTS: &[(&str, &str)] = &[("megatron_core", "megatron.core"), ("qalora_group_size", "16")];

impl Adapter {
    /// Loads a PEFT folder.
    ///
    /// Every key of its configuration is looked at: one that this crate does not implement is accepted when it is null,
    /// false, empty or PEFT's default, and refused by name otherwise. `target_modules` may be a list, a regular
    /// expression or `all-linear`. Factors of a multimodal model's vision part are left out, with one warning. The
    /// adapter's fingerprint is empty unless this crate wrote the folder.
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
        let (mut config, targets) =
            parse_config(&json).map_err(|e| fail(format!("adapter_config.json: {e}")))?;
        let base = match read_small(&dir.join(FINGERPRINT)) {
            Ok(bytes) => {
                let value: Value =
                    serde_json::from_slice(&bytes).map_err(|e| fail(format!("{FINGERPRINT}: {e}")))?;
                value["base"].as_str().unwrap_or_default().to_owned()
            }
            Err(_) => String::new(),
        };
        let file = Weights::open(&dir.join("adapter_model.safetensors"))?;
        let names = file.names();
        let vision = names.iter().filter(|name| name.strip_prefix(PREFIX).is_some_and(is_vision)).count();
        if vision > 0 {
            tracing::warn!("{label}: {vision} factors of the vision part are left out");
        }
        let blocks = BLOCKS[1..].iter().find(|blocks| names.iter().any(|name| stands_in(name, blocks)));
        let (nested, blocks) = (blocks.is_some(), blocks.unwrap_or(&BLOCKS[0]));
        let layers = read_factors(&file, config.rank, |name| match name.strip_prefix(PREFIX) {
            Some(rest) if is_vision(rest) => None,
            // A name that is no module of a text model is handed on, to be refused.
            rest => Some(rest.map_or(name.to_owned(), |rest| canonical(rest).replacen("model.", "", 1))),
        })?;
        config.layers = targets.check(&mut config.targets, &layers, blocks).map_err(fail)?;
        config.check()?;
        Ok(Self { config, base, nested, layers })
    }

    /// Writes a folder that PEFT loads, creating it if need be.
    ///
    /// # Errors
    ///
    /// [`ModelError::Io`], naming the file.
    pub fn save_peft(&self, dir: impl AsRef<Path>) -> Result<()> {
        let dir = dir.as_ref();
        let fail = |reason: String| ModelError::Adapter { adapter: dir.display().to_string(), reason };
        let names: Vec<_> = self.config.targets.iter().map(|p| p.name()).collect();
        let (target_modules, layers_to_transform) = match (&self.config.layers, self.nested) {
            // A list would name the vision part's layers too.
            (layers, true) => {
                let blocks = layers.as_ref().map_or(r"\d+".into(), |list| {
                    format!("({})", list.iter().map(ToString::to_string).collect::<Vec<_>>().join("|"))
                });
                let names = names.join("|");
                (
                    json!(format!(r".*language_model\.layers\.{blocks}\.(self_attn|mlp)\.({names})")),
                    Value::Null,
                )
            }
            (layers, false) => (json!(names), json!(layers)),
        };
        let config = json!({
            "peft_type": "LORA", "task_type": "CAUSAL_LM", "inference_mode": true, "bias": "none",
            "r": self.config.rank, "lora_alpha": self.config.alpha, "lora_dropout": self.config.dropout,
            "use_rslora": self.config.use_rslora, "target_modules": target_modules,
            "layers_to_transform": layers_to_transform, "base_model_name_or_path": null,
        });
        let prefix = format!("{PREFIX}model.{}", if self.nested { "language_model." } else { "" });
        let weights =
            self.to_safetensors(&prefix, [("format".to_string(), "pt".to_string())].into()).map_err(fail)?;
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

fn parse_config(json: &Map<String, Value>) -> std::result::Result<(LoraConfig, Targets), String> {
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
    match json.get("init_lora_weights") {
        Some(Value::String(start)) if !STARTS.contains(&start.as_str()) => {
            return Err(format!(
                "init_lora_weights = {start:?} changes the base's weights; convert it to a plain LoRA with PEFT first"
            ));
        }
        _ => {}
    }
    let strings = |value: &Value| -> Option<Vec<String>> {
        value.as_array()?.iter().map(|v| Some(v.as_str()?.to_owned())).collect()
    };
    let modules = match json.get("target_modules") {
        Some(Value::String(all)) if all == "all-linear" => Modules::All,
        Some(Value::String(pattern)) if pattern.len() <= MAX_PATTERN => Modules::Pattern(
            Regex::new(&format!("^(?:{pattern})$"))
                .map_err(|e| format!("target_modules is no regular expression: {e}"))?,
        ),
        Some(value) if strings(value).is_some_and(|list| !list.is_empty()) => {
            Modules::Names(strings(value).unwrap_or_default())
        }
        other => {
            return Err(format!(
                "target_modules is {other:?}; a list of names, a regular expression or \"all-linear\" is supported"
            ));
        }
    };
    let block = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok());
    let blocks = match json.get("layers_to_transform") {
        None | Some(Value::Null) => None,
        Some(Value::Array(list)) if list.is_empty() => None,
        Some(value) => {
            let list = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
            let list: Option<BTreeSet<usize>> = list.iter().map(block).collect();
            Some(list.ok_or_else(|| format!("layers_to_transform = {value} is no list of block numbers"))?)
        }
    };
    let plain = |value: &Value| {
        value == "layers" || value.as_array().is_some_and(|l| l.iter().all(|v| v == "layers"))
    };
    if let Some(pattern) = json.get("layers_pattern").filter(|value| !value.is_null() && !plain(value)) {
        return Err(format!(
            "layers_pattern = {pattern} is not supported; these models' blocks are called layers"
        ));
    }
    let rank = json.get("r").and_then(Value::as_u64).ok_or("r is missing or no whole number")?;
    let config = LoraConfig {
        rank: usize::try_from(rank).map_err(|e| e.to_string())?,
        alpha: number("lora_alpha")?,
        dropout: number("lora_dropout").unwrap_or(0.0),
        use_rslora: json.get("use_rslora").and_then(Value::as_bool).unwrap_or(false),
        ..LoraConfig::default()
    };
    Ok((config, Targets { modules, blocks }))
}

/// Which modules a PEFT configuration adapts.
#[derive(Debug)]
struct Targets {
    modules: Modules,
    /// `layers_to_transform`
    blocks: Option<BTreeSet<usize>>,
}

#[derive(Debug)]
enum Modules {
    All,
    /// Each names a module, or ends the path of some.
    Names(Vec<String>),
    Pattern(Regex),
}

impl Targets {
    /// `blocks` is where the file has its blocks: names and patterns are of that spelling.
    fn contains(&self, layer: usize, projection: Projection, blocks: &str) -> bool {
        let path = format!("{blocks}{layer}.{}", projection.path());
        let named = match &self.modules {
            Modules::All => true,
            Modules::Names(names) => names.iter().any(|name| is_suffix(&path, name)),
            // A pattern that runs into the library's limit of steps matches nothing, and the factors then do not fit.
            Modules::Pattern(pattern) => pattern.is_match(&path).unwrap_or(false),
        };
        named && self.blocks.as_ref().is_none_or(|blocks| blocks.contains(&layer))
    }

    /// Compares the factors of a file with what its configuration says; fills in the targets and gives the blocks.
    fn check(
        &self,
        targets: &mut Vec<Projection>,
        layers: &BTreeMap<(usize, Projection), LoraPair>,
        place: &str,
    ) -> std::result::Result<Option<Vec<usize>>, String> {
        let blocks: BTreeSet<usize> = layers.keys().map(|(layer, _)| *layer).collect();
        *targets =
            Projection::ALL.into_iter().filter(|p| layers.keys().any(|(_, found)| found == p)).collect();
        for &layer in &blocks {
            for projection in Projection::ALL {
                let (wanted, name) = (self.contains(layer, projection, place), projection.name());
                match layers.contains_key(&(layer, projection)) {
                    true if !wanted => {
                        return Err(format!(
                            "layer {layer} {name} has factors, but is not among target_modules"
                        ));
                    }
                    false if wanted => return Err(format!("layer {layer} {name} is missing")),
                    false if targets.contains(&projection) => {
                        return Err(format!(
                            "target_modules leaves out {name} of layer {layer} alone; the same projections in every adapted layer are supported"
                        ));
                    }
                    _ => {}
                }
            }
        }
        // PEFT passes over names that no module has; one of a block that the file lacks would be a file cut short.
        if let Modules::Names(names) = &self.modules {
            let lacks = |name: &&String| {
                let block = block_of(name).filter(|block| !blocks.contains(block));
                block.is_some_and(|block| {
                    let paths = Projection::ALL.map(|p| format!("{place}{block}.{}", p.path()));
                    paths.iter().any(|path| is_suffix(path, name))
                })
            };
            if let Some(name) = names.iter().find(lacks) {
                return Err(format!("target_modules names {name:?}, for which there are no factors"));
            }
        }
        if let Some(missing) = self.blocks.iter().flatten().find(|block| !blocks.contains(block)) {
            return Err(format!("layers_to_transform names {missing}, for which there are no factors"));
        }
        let all = match &self.modules {
            _ if self.blocks.is_some() => false,
            Modules::All => true,
            Modules::Names(names) => names.iter().all(|name| !name.contains("layers.")),
            Modules::Pattern(_) => false,
        };
        Ok((!all).then(|| blocks.into_iter().collect()))
    }
}

/// Whether a factor of a PEFT file belongs to these blocks.
fn stands_in(name: &str, blocks: &str) -> bool {
    name.strip_prefix(PREFIX).is_some_and(|name| name.starts_with(blocks))
}

/// The number of the block that a module's name goes through.
fn block_of(name: &str) -> Option<usize> {
    name.rsplit_once("layers.")?.1.split_once('.')?.0.parse().ok()
}

/// Whether a name is a path or its last parts.
fn is_suffix(path: &str, name: &str) -> bool {
    path.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
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
        parse_config(json.as_object().unwrap()).map(|(config, _)| config)
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
            ("modules_to_save", json!(["lm_head"])),
            ("rank_pattern", json!({"q_proj": 4})),
            ("qalora_group_size", 32.into()),
            ("a_key_of_tomorrow", 1.into()),
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

    /// What a file with factors for these places gives under a `target_modules` and a `layers_to_transform`.
    fn blocks(
        places: &[(usize, Projection)],
        modules: Value,
        blocks: Value,
        place: &str,
    ) -> std::result::Result<Option<Vec<usize>>, String> {
        let json = json!({
            "peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": modules, "layers_to_transform": blocks
        });
        let (mut config, targets) = parse_config(json.as_object().unwrap()).unwrap();
        let pair = LoraPair { a: ndarray::array![[1.0]], b: ndarray::array![[1.0]] };
        let layers = places.iter().map(|place| (*place, pair.clone())).collect();
        targets.check(&mut config.targets, &layers, place)
    }

    #[test]
    fn target_modules_say_which_factors_must_be_there() {
        use Projection::{Down, Q, V};
        let both = [(0, Q), (0, V), (1, Q), (1, V)];
        let [text, newer, older] = BLOCKS;
        assert_eq!(blocks(&both, json!(["q_proj", "v_proj"]), Value::Null, text), Ok(None));
        assert_eq!(blocks(&both, json!(["self_attn.q_proj", "v_proj"]), Value::Null, text), Ok(None));
        assert_eq!(blocks(&both, r".*self_attn\.[qv]_proj".into(), Value::Null, text), Ok(Some(vec![0, 1])));
        let deeper = r"model\.language_model\.layers\.\d+\.self_attn\.(q|v)_proj";
        assert_eq!(blocks(&both, deeper.into(), Value::Null, newer), Ok(Some(vec![0, 1])));
        // The layout that a file does not have is not the one that its pattern is for.
        assert!(blocks(&both, deeper.into(), Value::Null, older).unwrap_err().contains("not among"));
        let deeper = r"language_model\.model\.layers\.\d+\.self_attn\.(q|v)_proj";
        assert_eq!(blocks(&both, deeper.into(), Value::Null, older), Ok(Some(vec![0, 1])));
        let whole = json!(["language_model.model.layers.1.self_attn.q_proj"]);
        assert_eq!(blocks(&[(1, Q)], whole, Value::Null, older), Ok(Some(vec![1])));
        // PEFT passes over names that no module has.
        assert_eq!(blocks(&both, json!(["q_proj", "v_proj", "c_attn"]), Value::Null, text), Ok(None));
        assert_eq!(blocks(&both, json!(["q_proj", "v_proj"]), json!([1, 0]), text), Ok(Some(vec![0, 1])));
        assert_eq!(blocks(&[(2, Q)], json!(["q_proj"]), json!(2), text), Ok(Some(vec![2])));
        assert_eq!(
            blocks(&[(1, Q)], json!(["layers.1.self_attn.q_proj"]), Value::Null, text),
            Ok(Some(vec![1]))
        );
        for (places, modules, list, word) in [
            (&both[..3], json!(["q_proj", "v_proj"]), Value::Null, "layer 1 v_proj is missing"),
            (&both[..], json!(["q_proj"]), Value::Null, "v_proj has factors"),
            (
                &both[..],
                json!(["q_proj", "v_proj", "layers.2.mlp.up_proj"]),
                Value::Null,
                "layers.2.mlp.up_proj",
            ),
            (&both[..], json!(["c_attn"]), Value::Null, "not among"),
            (&both[..], json!(["q_proj", "v_proj"]), json!([0, 1, 2]), "names 2"),
            (
                &[(0, Q), (1, Down)][..],
                r".*(0.self_attn.q|1.mlp.down)_proj".into(),
                Value::Null,
                "every adapted",
            ),
            (&both[..], "all-linear".into(), Value::Null, "k_proj is missing"),
            (&both[..], r"(x+x+)+y.*".into(), Value::Null, "not among"),
        ] {
            let error = blocks(places, modules, list, text).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn a_folder_of_the_older_multimodal_layout_is_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures/parity/gemma3-multimodal/adapter");
        let newer = Adapter::load_peft(&folder).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let bytes = std::fs::read(folder.join("adapter_model.safetensors")).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let renamed = file.tensors().into_iter().map(|(name, view)| {
            (name.replace("model.language_model.layers.", "language_model.model.layers."), view)
        });
        let renamed = safetensors::serialize(renamed, None).unwrap();
        std::fs::write(dir.path().join("adapter_model.safetensors"), renamed).unwrap();
        let json = std::fs::read(folder.join("adapter_config.json")).unwrap();
        let mut json: Value = serde_json::from_slice(&json).unwrap();
        for (pattern, fits) in [
            (r".*language_model\.model\.layers\.\d+\.self_attn\.[qv]_proj", true),
            (r".*language_model\.layers\.\d+\.self_attn\.[qv]_proj", false),
        ] {
            json["target_modules"] = pattern.into();
            std::fs::write(dir.path().join("adapter_config.json"), json.to_string()).unwrap();
            let older = Adapter::load_peft(dir.path());
            assert_eq!(
                older.as_ref().is_ok_and(|older| older.nested && older.layers == newer.layers),
                fits,
                "{older:?}"
            );
        }
    }
}
