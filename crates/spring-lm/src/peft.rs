//! PEFT adapter folders: `adapter_config.json` and `adapter_model.safetensors`, or the older
//! `adapter_model.bin`.

mod config;
mod patterns;
mod targets;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use ndarray::Array2;
use serde_json::{Value, json};

use self::{config::parse_config, patterns::Patterns};
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

/// A pattern of a user's file is matched against some hundred module names.
const MAX_PATTERN: usize = 4096;

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

/// Whether a factor of a PEFT file belongs to these blocks.
fn stands_in(name: &str, blocks: &str) -> bool {
    name.strip_prefix(PREFIX).is_some_and(|name| name.starts_with(blocks))
}

#[cfg(test)]
mod tests {
    use super::*;

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
