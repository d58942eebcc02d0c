//! PEFT adapter folders: `adapter_config.json` and `adapter_model.safetensors`, or the older
//! `adapter_model.bin`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use fancy_regex::Regex;
use ndarray::Array2;
use serde_json::{Map, Value, json};

use crate::{
    Adapter, LoraConfig, ModelError, ModelFiles, Projection, Result, Weights,
    adapter::{LoraPair, read_factors},
    canonical,
    checkpoint::read_small,
    is_vision,
};

const PREFIX: &str = "base_model.model.";
/// Where the blocks of a text model are, and those of a multimodal one by its newer and its older
/// layout.
const BLOCKS: [&str; 3] =
    ["model.layers.", "model.language_model.layers.", "language_model.model.layers."];
/// Where a folder that this crate wrote notes its base model; PEFT ignores it.
const FINGERPRINT: &str = "spring.json";
const CONFIG: &str = "adapter_config.json";
const FACTORS: &str = "adapter_model.safetensors";
/// What older versions of PEFT write.
const PICKLE: &str = "adapter_model.bin";
/// The matrices at both ends of a model, which some programs save beside the factors.
const ENDS: [&str; 2] = ["model.embed_tokens.weight", "lm_head.weight"];

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

/// A pattern of a user's file is matched against some hundred module names.
const MAX_PATTERN: usize = 4096;

/// Keys of methods that are off at these defaults (PEFT 0.21).
const DEFAULTS: &[(&str, &str)] =
    &[("megatron_core", "megatron.core"), ("qalora_group_size", "16")];

impl Adapter {
    /// Loads a PEFT folder. Factors in a pickle (`adapter_model.bin`) are read without running it;
    /// what is no part of saved factors is refused.
    ///
    /// Every key of its configuration is looked at: one of a method that this crate does not
    /// implement is accepted when it is null, false, empty or PEFT's default, and refused by name
    /// otherwise; one that PEFT 0.21 does not know either is passed over with a warning, as PEFT
    /// does, unless the file says that a newer PEFT wrote it.
    ///
    /// Ranks and scales that differ between layers are brought to one: factors of a smaller rank
    /// are filled with zeros, and B takes up the ratio of the scales. A layer that is not adapted
    /// has factors of zeros. Either changes what the adapter says by no more than rounding. Factors
    /// of a multimodal model's vision part are left out, with one warning. The adapter's
    /// fingerprint is empty unless this crate wrote the folder.
    ///
    /// # Errors
    ///
    /// [`ModelError::Io`] for a missing file, [`ModelError::Adapter`] for everything that would not
    /// load whole, embeddings and output heads beside the factors among it: those need
    /// [`load_peft_for`](Self::load_peft_for).
    pub fn load_peft(dir: impl AsRef<Path>) -> Result<Self> {
        load(dir.as_ref(), None)
    }

    /// Loads a PEFT folder for a base model, with whose embeddings and head it may come.
    ///
    /// # Errors
    ///
    /// As [`load_peft`](Self::load_peft), and [`ModelError::Adapter`] if the embeddings or the head
    /// in the folder are others than the base's.
    pub fn load_peft_for(dir: impl AsRef<Path>, base: &ModelFiles) -> Result<Self> {
        load(dir.as_ref(), Some(base))
    }

    /// The same of files that are open already: `adapter_config.json`, the `spring.json` of a
    /// folder that this crate wrote, and `adapter_model.safetensors`. `label` is how errors name
    /// them.
    ///
    /// # Errors
    ///
    /// As [`load_peft`](Self::load_peft).
    pub fn load_peft_files(
        label: &str,
        config: &[u8],
        fingerprint: &[u8],
        factors: std::fs::File,
    ) -> Result<Self> {
        let factors = Weights::from_file(factors, format!("{label}/{FACTORS}"))?;
        assemble(label, config, Some(fingerprint), &factors, None)
    }

    /// Writes a folder that PEFT loads, creating it if need be.
    ///
    /// `base` is the base model's folder or its name on the hub, with `@revision` if it has one:
    /// PEFT's `AutoPeftModel` and converters load the base by it.
    ///
    /// # Errors
    ///
    /// [`ModelError::Io`], naming the file.
    pub fn save_peft(&self, dir: impl AsRef<Path>, base: Option<&str>) -> Result<()> {
        let dir = dir.as_ref();
        let fail =
            |reason: String| ModelError::Adapter { adapter: dir.display().to_string(), reason };
        let names: Vec<_> = self.config.targets.iter().map(|p| p.name()).collect();
        let (target_modules, layers_to_transform) = match (&self.config.layers, self.nested) {
            // A list would name the vision part's layers too.
            (layers, true) => {
                let blocks = layers.as_ref().map_or(r"\d+".into(), |list| {
                    format!(
                        "({})",
                        list.iter().map(ToString::to_string).collect::<Vec<_>>().join("|")
                    )
                });
                let names = names.join("|");
                (
                    json!(format!(
                        r".*language_model\.layers\.{blocks}\.(self_attn|mlp)\.({names})"
                    )),
                    Value::Null,
                )
            }
            (layers, false) => (json!(names), json!(layers)),
        };
        // A folder may hold an @ too.
        let (base, revision) = match base.and_then(|base| base.split_once('@')) {
            Some((name, revision)) if !Path::new(base.unwrap_or_default()).exists() => {
                (Some(name), Some(revision))
            }
            _ => (base, None),
        };
        let config = json!({
            "peft_type": "LORA", "task_type": "CAUSAL_LM", "inference_mode": true, "bias": "none",
            "r": self.config.rank, "lora_alpha": self.config.alpha,
            "lora_dropout": self.config.dropout,
            "use_rslora": self.config.use_rslora, "target_modules": target_modules,
            "layers_to_transform": layers_to_transform, "base_model_name_or_path": base,
            "revision": revision,
        });
        let prefix = format!("{PREFIX}model.{}", if self.nested { "language_model." } else { "" });
        let weights = self
            .to_safetensors(&prefix, [("format".to_string(), "pt".to_string())].into())
            .map_err(fail)?;
        let write = |name: &str, bytes: &[u8]| {
            let path = dir.join(name);
            std::fs::write(&path, bytes).map_err(|source| ModelError::Io { path, source })
        };
        std::fs::create_dir_all(dir)
            .map_err(|source| ModelError::Io { path: dir.into(), source })?;
        write("adapter_config.json", format!("{config:#}\n").as_bytes())?;
        write(FINGERPRINT, format!("{}\n", json!({ "base": self.base })).as_bytes())?;
        write("adapter_model.safetensors", &weights)
    }
}

fn load(dir: &Path, base: Option<&ModelFiles>) -> Result<Adapter> {
    let label = dir.display().to_string();
    let fail = |reason: String| ModelError::Adapter { adapter: label.clone(), reason };
    if let Some(other) = not_a_folder_of_peft(dir) {
        return Err(fail(other));
    }
    let config = read_small(&dir.join(CONFIG))?;
    let fingerprint = match dir.join(FINGERPRINT) {
        path if path.exists() => Some(read_small(&path)?),
        _ => None,
    };
    let pickled;
    let file = match dir.join(PICKLE) {
        path if path.exists() && !dir.join(FACTORS).exists() => {
            let refuse = |reason: String| fail(format!("{PICKLE}: {reason}; {CONVERT}"));
            pickled = crate::pickle::to_safetensors(&path).map_err(refuse)?;
            Weights::from_bytes(&pickled, path.display().to_string())?
        }
        _ => Weights::open(&dir.join(FACTORS))?,
    };
    assemble(&label, &config, fingerprint.as_deref(), &file, base)
}

/// An adapter of the contents of its files.
fn assemble(
    label: &str,
    bytes: &[u8],
    fingerprint: Option<&[u8]>,
    file: &Weights<'_>,
    base: Option<&ModelFiles>,
) -> Result<Adapter> {
    let fail = |reason: String| ModelError::Adapter { adapter: label.to_owned(), reason };
    let in_config = |reason: String| fail(format!("{CONFIG}: {reason}"));
    let json = match crate::json::parse(bytes).map_err(in_config)? {
        Value::Object(json) => json,
        other => {
            return Err(in_config(format!(
                "{} where an object is wanted",
                crate::json::kind(&other)
            )));
        }
    };
    let patterns = Patterns::read(bytes).map_err(in_config)?;
    let (mut config, targets) = parse_config(&json, label).map_err(in_config)?;
    let fingerprint = match fingerprint {
        Some(bytes) => {
            let value =
                crate::json::parse(bytes).map_err(|e| fail(format!("{FINGERPRINT}: {e}")))?;
            value["base"].as_str().unwrap_or_default().to_owned()
        }
        None => String::new(),
    };
    let names = file.names();
    let vision =
        names.iter().filter(|name| name.strip_prefix(PREFIX).is_some_and(is_vision)).count();
    if vision > 0 {
        tracing::warn!("{label}: {vision} factors of the vision part are left out");
    }
    let blocks = BLOCKS[1..].iter().find(|blocks| names.iter().any(|name| stands_in(name, blocks)));
    let (nested, blocks) = (blocks.is_some(), blocks.unwrap_or(&BLOCKS[0]));
    one_adapter(&names).map_err(fail)?;
    let mut ends = Vec::new();
    for name in &names {
        let inner = canonical(name.strip_prefix(PREFIX).unwrap_or(name));
        match inner.as_str() {
            end if ENDS.contains(&end) => ends.push((name.clone(), inner)),
            end if is_end(end) => return Err(fail(end_factors(name))),
            _ => {}
        }
    }
    check_ends(file, &ends, base).map_err(fail)?;
    let rank = |layer, projection: Projection| {
        patterns.rank(&module(blocks, layer, projection)).unwrap_or(config.rank)
    };
    let mut layers = read_factors(file, rank, |name| match name.strip_prefix(PREFIX) {
        Some(rest) if is_vision(rest) || ends.iter().any(|(end, _)| end == name) => None,
        // A name that is no module of a text model is handed on, to be refused.
        rest => Some(rest.map_or(name.to_owned(), |rest| {
            without_adapter_name(&canonical(rest)).replacen("model.", "", 1)
        })),
    })?;
    config.layers = targets.check(&mut config.targets, &layers, blocks).map_err(fail)?;
    bring_to_one_shape(&mut config, &mut layers, |layer, projection| {
        patterns.alpha(&module(blocks, layer, projection))
    });
    config.check()?;
    Ok(Adapter { config, base: fingerprint, nested, layers })
}

/// What a folder holds instead of a PEFT adapter, if one can tell.
fn not_a_folder_of_peft(dir: &Path) -> Option<String> {
    let has = |name: &str| dir.join(name).exists();
    if dir.is_file() {
        return Some(
            "a file; give the folder that holds adapter_config.json and adapter_model.safetensors"
                .into(),
        );
    }
    if !has(CONFIG) && has("config.json") {
        return Some("the folder holds a model, not an adapter: give it by --model".into());
    }
    if has("adapters.safetensors") && !has(FACTORS) {
        return Some(MLX.into());
    }
    None
}

/// What to do with an adapter that is more than factors of linear layers.
const MERGE: &str =
    "merge it into its base with PEFT's merge_and_unload and give the result by --model";

/// How torch writes factors anew that cannot be read from a pickle.
const CONVERT: &str = "torch writes it anew as adapter_model.safetensors, if it is trusted: \
                       python -c \"from safetensors.torch import save_file; import torch; \
                       save_file({k: v.contiguous() for k, v in torch.load('adapter_model.bin', \
                       weights_only=True).items()}, 'adapter_model.safetensors', {'format': \
                       'pt'})\"";

const MLX: &str = "an adapter of mlx-lm (fine_tune_type, adapters.safetensors), whose factors have \
                   other names and \
                   shapes; convert it to PEFT's layout first";

/// The path of a layer in its model, as PEFT's patterns see it.
fn module(blocks: &str, layer: usize, projection: Projection) -> String {
    format!("{blocks}{layer}.{}", projection.path())
}

/// `….lora_A.default.weight` is `….lora_A.weight`: PEFT's own files leave the adapter's name out.
fn without_adapter_name(name: &str) -> String {
    match adapter_name(name) {
        Some(adapter) => name.replacen(&format!(".{adapter}.weight"), ".weight", 1),
        None => name.to_owned(),
    }
}

fn adapter_name(name: &str) -> Option<&str> {
    let after = name.split_once(".lora_A.").or(name.split_once(".lora_B."))?.1;
    after.strip_suffix(".weight").filter(|adapter| !adapter.is_empty())
}

fn one_adapter(names: &[String]) -> std::result::Result<(), String> {
    let adapters: BTreeSet<&str> = names.iter().filter_map(|name| adapter_name(name)).collect();
    match adapters.len() {
        0 | 1 => Ok(()),
        _ => Err(format!(
            "its factors are of several adapters ({}); save one of them alone",
            adapters.into_iter().collect::<Vec<_>>().join(", ")
        )),
    }
}

/// Whether a tensor belongs to the embeddings or the head.
fn is_end(name: &str) -> bool {
    name.split('.').any(|part| part == "lm_head" || part == "embed_tokens")
}

fn end_factors(name: &str) -> String {
    let end = if name.contains("lm_head") { "lm_head" } else { "embed_tokens" };
    format!(
        "tensor {name} adapts {end}; only the linear layers inside the blocks are supported. \
         Train it with exclude_modules = [\"{end}\"], or merge it into its base with PEFT's \
         merge_and_unload and give the result by --model"
    )
}

/// Embeddings and head beside the factors must be the base's own.
fn check_ends(
    file: &Weights<'_>,
    ends: &[(String, String)],
    base: Option<&ModelFiles>,
) -> std::result::Result<(), String> {
    if ends.is_empty() {
        return Ok(());
    }
    let names = ends.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
    let Some(base) = base else {
        return Err(format!(
            "it holds {names} beside its factors, which can only be read together with the base \
             model"
        ));
    };
    let mut own: BTreeMap<String, Array2<f32>> = BTreeMap::new();
    for shard in base.weights() {
        let shard = shard.map_err(|e| e.to_string())?;
        for stored in shard.names() {
            let name = canonical(&stored);
            if ENDS.contains(&name.as_str()) {
                own.insert(name, shard.matrix(&stored).map_err(|e| e.to_string())?);
            }
        }
    }
    for (name, inner) in ends {
        // Tied weights are stored once, under either name.
        let theirs = own.get(inner).or_else(|| own.values().next());
        let matrix = file.matrix(name).map_err(|e| e.to_string())?;
        if theirs != Some(&matrix) {
            return Err(format!(
                "tensor {name} replaces the base's embeddings or head, which is not supported; \
                 merge the adapter into \
                 its base with PEFT's merge_and_unload and give the result by --model"
            ));
        }
    }
    Ok(())
}

/// One rank and one scale for all: smaller ranks are filled with zeros, B takes up the ratio of the
/// scales, and layers without factors get zeros.
fn bring_to_one_shape(
    config: &mut LoraConfig,
    layers: &mut BTreeMap<(usize, Projection), LoraPair>,
    alpha: impl Fn(usize, Projection) -> Option<f64>,
) {
    let scale = |rank: usize, alpha: f64, config: &LoraConfig| {
        LoraConfig { rank, alpha, ..config.clone() }.scale()
    };
    let own = scale(config.rank, config.alpha, config);
    let common = if own == 0.0 { 1.0 } else { own };
    let rank = layers.values().map(|pair| pair.a.nrows()).max().unwrap_or(config.rank);
    for ((layer, projection), pair) in layers.iter_mut() {
        let alpha = alpha(*layer, *projection).unwrap_or(config.alpha);
        let factor = scale(pair.a.nrows(), alpha, config) / common;
        if factor != 1.0 {
            pair.b.mapv_inplace(|x| (f64::from(x) * factor) as f32);
        }
        if pair.a.nrows() < rank {
            let or_zero =
                |matrix: &Array2<f32>, at: (usize, usize)| matrix.get(at).copied().unwrap_or(0.0);
            let a = Array2::from_shape_fn((rank, pair.a.ncols()), |at| or_zero(&pair.a, at));
            let b = Array2::from_shape_fn((pair.b.nrows(), rank), |at| or_zero(&pair.b, at));
            *pair = LoraPair { a, b };
        }
    }
    if rank != config.rank || own == 0.0 {
        config.rank = rank;
        config.alpha = common * rank as f64 / scale(rank, rank as f64, config);
    }
    let blocks: BTreeSet<usize> = layers.keys().map(|(layer, _)| *layer).collect();
    for &projection in &config.targets {
        let like = layers
            .iter()
            .find(|((_, found), _)| *found == projection)
            .map(|(_, pair)| (pair.a.dim(), pair.b.dim()));
        let Some((a, b)) = like else { continue };
        for &layer in &blocks {
            let zeros = || LoraPair { a: Array2::zeros(a), b: Array2::zeros(b) };
            layers.entry((layer, projection)).or_insert_with(zeros);
        }
    }
}

/// `rank_pattern` and `alpha_pattern`, in the order of the file: of several that fit a module the
/// first counts.
#[derive(Debug, Default)]
struct Patterns {
    ranks: Vec<(Regex, usize)>,
    alphas: Vec<(Regex, f64)>,
}

impl Patterns {
    fn read(json: &[u8]) -> std::result::Result<Self, String> {
        #[derive(Default, serde::Deserialize)]
        struct Fields {
            rank_pattern: Option<Pairs>,
            alpha_pattern: Option<Pairs>,
        }
        // Other programs begin a file with a byte order mark.
        let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
        let fields: Fields = spring_numerics::words::from_json(json).map_err(|e| e.to_string())?;
        let compile = |name: &str,
                       pairs: Option<Pairs>|
         -> std::result::Result<Vec<(Regex, f64)>, String> {
            let pairs = pairs.map_or_else(Vec::new, |pairs| pairs.0);
            pairs
                .into_iter()
                .map(|(pattern, value)| {
                    if pattern.len() > MAX_PATTERN {
                        return Err(format!("{name}: a pattern longer than {MAX_PATTERN} bytes"));
                    }
                    let regex = Regex::new(&format!(r"^(.*\.)?({pattern})$")).map_err(|e| {
                        format!("{name}: {pattern:?} is no regular expression: {e}")
                    })?;
                    Ok((regex, value))
                })
                .collect()
        };
        let ranks = compile("rank_pattern", fields.rank_pattern)?;
        let ranks = ranks
            .into_iter()
            .map(|(pattern, rank)| match rank {
                rank if rank.fract() == 0.0 && (1.0..=1024.0).contains(&rank) => {
                    Ok((pattern, rank as usize))
                }
                rank => Err(format!(
                    "rank_pattern has the rank {rank}; whole numbers from 1 to 1024 are allowed"
                )),
            })
            .collect::<std::result::Result<_, _>>()?;
        Ok(Self { ranks, alphas: compile("alpha_pattern", fields.alpha_pattern)? })
    }

    fn rank(&self, module: &str) -> Option<usize> {
        first(&self.ranks, module)
    }

    fn alpha(&self, module: &str) -> Option<f64> {
        first(&self.alphas, module)
    }
}

fn first<T: Copy>(patterns: &[(Regex, T)], module: &str) -> Option<T> {
    patterns
        .iter()
        .find(|(pattern, _)| pattern.is_match(module).unwrap_or(false))
        .map(|(_, value)| *value)
}

/// A JSON object in the order of its file.
#[derive(Debug, Default)]
struct Pairs(Vec<(String, f64)>);

impl<'de> serde::Deserialize<'de> for Pairs {
    fn deserialize<D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> std::result::Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Pairs;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of numbers")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> std::result::Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

fn parse_config(
    json: &Map<String, Value>,
    label: &str,
) -> std::result::Result<(LoraConfig, Targets), String> {
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

/// Which modules a PEFT configuration adapts.
#[derive(Debug)]
struct Targets {
    modules: Modules,
    /// `exclude_modules`
    excluded: Option<Modules>,
    /// `layers_to_transform`
    blocks: Option<BTreeSet<usize>>,
}

#[derive(Debug)]
enum Modules {
    All,
    /// Those that the file has factors for.
    Found,
    /// Each names a module, or ends the path of some.
    Names(Vec<String>),
    Pattern(Regex),
}

impl Modules {
    fn read(key: &str, value: &Value) -> std::result::Result<Self, String> {
        let strings = |value: &Value| -> Option<Vec<String>> {
            value.as_array()?.iter().map(|v| Some(v.as_str()?.to_owned())).collect()
        };
        match value {
            Value::String(all) if all == "all-linear" => Ok(Self::All),
            Value::String(pattern) if pattern.len() <= MAX_PATTERN => {
                Regex::new(&format!("^(?:{pattern})$"))
                    .map(Self::Pattern)
                    .map_err(|e| format!("{key} is no regular expression: {e}"))
            }
            value => strings(value).filter(|list| !list.is_empty()).map(Self::Names).ok_or_else(|| {
                format!(
                    "{key} = {value}; a list of names, a regular expression or \"all-linear\" is \
                     wanted"
                )
            }),
        }
    }

    fn contains(&self, path: &str) -> bool {
        match self {
            Self::All | Self::Found => true,
            Self::Names(names) => names.iter().any(|name| is_suffix(path, name)),
            // A pattern that runs into the library's limit of steps matches nothing, and the
            // factors then do not fit.
            Self::Pattern(pattern) => pattern.is_match(path).unwrap_or(false),
        }
    }
}

impl Targets {
    /// `blocks` is where the file has its blocks: names and patterns are of that spelling.
    fn contains(&self, layer: usize, projection: Projection, blocks: &str) -> bool {
        let path = module(blocks, layer, projection);
        self.modules.contains(&path)
            && !self.excluded.as_ref().is_some_and(|excluded| excluded.contains(&path))
            && self.blocks.as_ref().is_none_or(|blocks| blocks.contains(&layer))
    }

    /// Compares the factors of a file with what its configuration says; fills in the targets and
    /// gives the blocks.
    fn check(
        &self,
        targets: &mut Vec<Projection>,
        layers: &BTreeMap<(usize, Projection), LoraPair>,
        place: &str,
    ) -> std::result::Result<Option<Vec<usize>>, String> {
        let blocks: BTreeSet<usize> = layers.keys().map(|(layer, _)| *layer).collect();
        *targets = Projection::ALL
            .into_iter()
            .filter(|p| layers.keys().any(|(_, found)| found == p))
            .collect();
        for &layer in &blocks {
            for projection in Projection::ALL {
                let (wanted, name) = (self.contains(layer, projection, place), projection.name());
                match layers.contains_key(&(layer, projection)) {
                    true if !wanted => {
                        return Err(format!(
                            "layer {layer} {name} has factors, but is not among target_modules"
                        ));
                    }
                    // What PEFT chose by itself may be less than all that it could have.
                    false if wanted && !matches!(self.modules, Modules::Found) => {
                        return Err(format!(
                            "layer {layer} {name} is missing: target_modules names it, and the \
                             file has no factors of it; save the adapter anew"
                        ));
                    }
                    _ => {}
                }
            }
        }
        // PEFT passes over names that no module has; one of a block that the file lacks would be a
        // file cut short.
        if let Modules::Names(names) = &self.modules {
            let lacks = |name: &&String| {
                let block = block_of(name).filter(|block| !blocks.contains(block));
                block.is_some_and(|block| {
                    let paths = Projection::ALL.map(|p| format!("{place}{block}.{}", p.path()));
                    paths.iter().any(|path| is_suffix(path, name))
                })
            };
            if let Some(name) = names.iter().find(lacks) {
                return Err(format!(
                    "target_modules names {name:?}, for which there are no factors"
                ));
            }
        }
        if let Some(missing) = self.blocks.iter().flatten().find(|block| !blocks.contains(block)) {
            return Err(format!(
                "layers_to_transform names {missing}, for which there are no factors"
            ));
        }
        let all = match &self.modules {
            _ if self.blocks.is_some() => false,
            Modules::All | Modules::Found => true,
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

    #[test]
    fn the_first_pattern_of_the_file_that_fits_gives_rank_and_scale() {
        let json =
            br#"{"rank_pattern": {"v_proj": 2, "layers.1.*v_proj": 4, "self_attn.q_proj": 8},
                        "alpha_pattern": {"z": 1, "(q|v)_proj": 6, "a": 3}}"#;
        let patterns = Patterns::read(json).unwrap();
        let of = |module| (patterns.rank(module), patterns.alpha(module));
        assert_eq!(of("model.layers.1.self_attn.v_proj"), (Some(2), Some(6.0)));
        assert_eq!(of("model.layers.0.self_attn.q_proj"), (Some(8), Some(6.0)));
        assert_eq!(of("model.layers.0.self_attn.k_proj"), (None, None));
        for bad in [
            r#"{"rank_pattern": {"v": 0}}"#,
            r#"{"alpha_pattern": [1]}"#,
            r#"{"rank_pattern": {"(": 1}}"#,
        ] {
            assert!(Patterns::read(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn layers_of_several_ranks_and_scales_are_brought_to_one() {
        let pair = |rank: usize| LoraPair {
            a: Array2::from_shape_fn((rank, 3), |(i, j)| (i + j) as f32),
            b: Array2::from_shape_fn((2, rank), |(i, j)| (i * 2 + j) as f32 + 1.0),
        };
        let update = |pair: &LoraPair, scale: f64| pair.b.dot(&pair.a).mapv(|x| x * scale as f32);
        use Projection::{Q, V};
        let mut layers: BTreeMap<_, _> =
            [((0, Q), pair(2)), ((0, V), pair(4)), ((1, Q), pair(2))].into_iter().collect();
        let before = layers.clone();
        for alpha in [8.0, 0.0] {
            let mut config =
                LoraConfig { rank: 2, alpha, targets: vec![Q, V], ..LoraConfig::default() };
            let own = |_, projection| (projection == V).then_some(2.0);
            bring_to_one_shape(&mut config, &mut layers, own);
            assert_eq!(config.rank, 4);
            assert!(layers.values().all(|pair| pair.a.nrows() == 4 && pair.b.ncols() == 4));
            let now = |place| update(&layers[&place], config.scale());
            assert_eq!(now((0, Q)), update(&before[&(0, Q)], alpha / 2.0));
            assert_eq!(now((0, V)), update(&before[&(0, V)], 2.0 / 4.0));
            // A layer that is not adapted says nothing.
            assert!(now((1, V)).iter().all(|x| *x == 0.0));
            layers = before.clone();
        }
    }

    /// What a file with factors for these places gives under a `target_modules` and a
    /// `layers_to_transform`.
    fn blocks(
        places: &[(usize, Projection)],
        modules: Value,
        blocks: Value,
        place: &str,
    ) -> std::result::Result<Option<Vec<usize>>, String> {
        let json = json!({
            "peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": modules,
            "layers_to_transform": blocks
        });
        let (mut config, targets) = parse_config(json.as_object().unwrap(), "test").unwrap();
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
        assert_eq!(
            blocks(&both, json!(["self_attn.q_proj", "v_proj"]), Value::Null, text),
            Ok(None)
        );
        assert_eq!(
            blocks(&both, r".*self_attn\.[qv]_proj".into(), Value::Null, text),
            Ok(Some(vec![0, 1]))
        );
        let deeper = r"model\.language_model\.layers\.\d+\.self_attn\.(q|v)_proj";
        assert_eq!(blocks(&both, deeper.into(), Value::Null, newer), Ok(Some(vec![0, 1])));
        // The layout that a file does not have is not the one that its pattern is for.
        assert!(
            blocks(&both, deeper.into(), Value::Null, older).unwrap_err().contains("not among")
        );
        let deeper = r"language_model\.model\.layers\.\d+\.self_attn\.(q|v)_proj";
        assert_eq!(blocks(&both, deeper.into(), Value::Null, older), Ok(Some(vec![0, 1])));
        let whole = json!(["language_model.model.layers.1.self_attn.q_proj"]);
        assert_eq!(blocks(&[(1, Q)], whole, Value::Null, older), Ok(Some(vec![1])));
        // Every layer may have its own.
        let places = [(0, Q), (1, Down)];
        let own = r".*(0.self_attn.q|1.mlp.down)_proj";
        assert_eq!(blocks(&places, own.into(), Value::Null, text), Ok(Some(vec![0, 1])));
        assert_eq!(blocks(&both, Value::Null, Value::Null, text), Ok(None));
        // PEFT passes over names that no module has.
        assert_eq!(
            blocks(&both, json!(["q_proj", "v_proj", "c_attn"]), Value::Null, text),
            Ok(None)
        );
        assert_eq!(
            blocks(&both, json!(["q_proj", "v_proj"]), json!([1, 0]), text),
            Ok(Some(vec![0, 1]))
        );
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
