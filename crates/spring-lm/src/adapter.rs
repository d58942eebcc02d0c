//! LoRA adapters as plain host data.

use std::collections::BTreeMap;

use ndarray::Array2;
use rand::Rng;
use safetensors::{Dtype, tensor::TensorView};
use serde::{Deserialize, Serialize};
use spring_numerics::key::{self, KeyedRng};
use spring_numerics::setting::{SettingError, in_range, require};

use crate::{ModelConfig, ModelError, Projection, Result, Weights};

/// The shape of a LoRA adapter (Hu et al. 2021, arXiv 2106.09685); the defaults are SPRInG's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct LoraConfig {
    /// Rank r of the update. Default 8.
    pub rank: usize,
    /// Numerator α of the scale α/r. Default 8.
    pub alpha: f64,
    /// Probability with which an input of the A matrix is dropped in training. Default 0.05.
    pub dropout: f64,
    /// Scale by α/√r instead (rank-stabilised LoRA, arXiv 2312.03732). Default false.
    pub use_rslora: bool,
    /// The linear layers that are adapted. Default q_proj and v_proj.
    pub targets: Vec<Projection>,
    /// The blocks that are adapted, counted from 0; default all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<usize>>,
}

spring_numerics::setters! {
    LoraConfig {
        with_rank(rank: usize);
        with_alpha(alpha: f64);
        with_dropout(dropout: f64);
        with_use_rslora(use_rslora: bool);
        with_targets(targets: Vec<Projection>);
        with_layers(layers: Option<Vec<usize>>);
    }
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self {
            rank: 8,
            alpha: 8.0,
            dropout: 0.05,
            use_rslora: false,
            targets: vec![Projection::Q, Projection::V],
            layers: None,
        }
    }
}

impl LoraConfig {
    /// What the product of the two factors is multiplied by: α/r, or α/√r.
    pub fn scale(&self) -> f64 {
        let rank = self.rank as f64;
        self.alpha / if self.use_rslora { rank.sqrt() } else { rank }
    }

    /// Refuses values that no adapter can have.
    ///
    /// # Errors
    ///
    /// For the first of them.
    pub fn check(&self) -> Result<(), SettingError> {
        let above_0 = self.alpha.is_finite() && self.alpha > 0.0;
        in_range("rank", self.rank, 1..=1024, "between 1 and 1024")?;
        require("alpha", self.alpha, above_0, "a positive number")?;
        in_range("dropout", self.dropout, 0.0..1.0, "at least 0 and below 1")?;
        require("targets", "[]", !self.targets.is_empty(), "at least one projection")?;
        let no_layers = self.layers.as_ref().is_some_and(Vec::is_empty);
        require("layers", "[]", !no_layers, "at least one block, or absent for all of them")
    }

    /// The blocks that are adapted of a model with `num_layers` of them.
    fn blocks(&self, num_layers: usize) -> Vec<usize> {
        self.layers.clone().unwrap_or_else(|| (0..num_layers).collect())
    }
}

/// The two factors of one adapted layer.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraPair {
    /// A, `[rank, d_in]`.
    pub a: Array2<f32>,
    /// B, `[d_out, rank]`.
    pub b: Array2<f32>,
}

/// A LoRA adapter on the host: what is stored, copied and compared.
///
/// It belongs to one base model and carries that model's fingerprint (empty when a PEFT folder does
/// not tell).
#[derive(Debug, Clone, PartialEq)]
pub struct Adapter {
    /// Shape and scale.
    pub config: LoraConfig,
    /// [`ModelFiles::fingerprint`](crate::ModelFiles::fingerprint) of its base.
    pub base: String,
    /// Whether the base is the text part of a multimodal model: PEFT's names are then one level
    /// deeper.
    pub(crate) nested: bool,
    pub(crate) layers: BTreeMap<(usize, Projection), LoraPair>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    config: LoraConfig,
    base: String,
    #[serde(default)]
    nested: bool,
}

impl Adapter {
    /// A fresh adapter: A uniform in ±1/√d_in (Kaiming with a = √5, as PEFT), B zero, so that it
    /// changes nothing yet.
    ///
    /// # Errors
    ///
    /// [`ModelError::Setting`] if the configuration is out of range or names a block that the model
    /// lacks.
    pub fn init(config: &LoraConfig, model: &ModelConfig, base: &str, seed: u64) -> Result<Self> {
        config.check()?;
        let mut layers = BTreeMap::new();
        for layer in config.blocks(model.num_layers) {
            if layer >= model.num_layers {
                let expected = "blocks that the model has, counted from 0";
                return Err(SettingError::new("layers", layer, expected).into());
            }
            for &projection in &config.targets {
                let (d_in, d_out) = model.projection_dims(projection);
                let mut rng = keyed_rng(seed, layer, projection);
                let bound = 1.0 / (d_in as f32).sqrt();
                let a = Array2::from_shape_simple_fn((config.rank, d_in), || {
                    rng.random_range(-bound..bound)
                });
                layers.insert(
                    (layer, projection),
                    LoraPair { a, b: Array2::zeros((d_out, config.rank)) },
                );
            }
        }
        Ok(Self { config: config.clone(), base: base.into(), nested: model.multimodal, layers })
    }

    /// An adapter of given factors, such as another program has trained; whether they fit a model
    /// says [`check`](Self::check).
    ///
    /// # Errors
    ///
    /// [`ModelError::Setting`] if the configuration is out of range.
    pub fn from_pairs(
        config: LoraConfig,
        base: &str,
        pairs: impl IntoIterator<Item = (usize, Projection, LoraPair)>,
    ) -> Result<Self> {
        config.check()?;
        let place = |(layer, projection, pair)| ((layer, projection), pair);
        let layers = pairs.into_iter().map(place).collect();
        Ok(Self { config, base: base.into(), nested: false, layers })
    }

    /// The factors of one layer, if it is adapted.
    pub fn pair(&self, layer: usize, projection: Projection) -> Option<&LoraPair> {
        self.layers.get(&(layer, projection))
    }

    /// All factors, in the order of layer and projection.
    pub fn pairs(&self) -> impl Iterator<Item = (usize, Projection, &LoraPair)> {
        self.layers.iter().map(|((layer, projection), pair)| (*layer, *projection, pair))
    }

    /// The same, to be replaced.
    pub fn pairs_mut(&mut self) -> impl Iterator<Item = (usize, Projection, &mut LoraPair)> {
        self.layers.iter_mut().map(|((layer, projection), pair)| (*layer, *projection, pair))
    }

    /// Whether it changes nothing, as a fresh one: one factor of each pair is zero.
    pub fn changes_nothing(&self) -> bool {
        let is_zero = |matrix: &Array2<f32>| matrix.iter().all(|x| *x == 0.0);
        self.layers.values().all(|pair| is_zero(&pair.b) || is_zero(&pair.a))
    }

    /// How many numbers it holds.
    pub fn num_params(&self) -> usize {
        self.layers.values().map(|pair| pair.a.len() + pair.b.len()).sum()
    }

    /// Refuses an adapter that does not fit a model.
    ///
    /// # Errors
    ///
    /// [`ModelError::Adapter`] if its fingerprint is another model's, or a matrix has another
    /// shape.
    pub fn check(&self, model: &ModelConfig, fingerprint: &str) -> Result<()> {
        let fail = |reason| Err(ModelError::Adapter { adapter: "in use".into(), reason });
        if !self.base.is_empty() && self.base != fingerprint {
            return fail(format!(
                "made for the base model {:.12}…, but this one is {:.12}…; use the base that it \
                 was trained on",
                self.base, fingerprint
            ));
        }
        for layer in self.config.blocks(model.num_layers) {
            if let Some(missing) =
                self.config.targets.iter().find(|p| !self.layers.contains_key(&(layer, **p)))
            {
                return fail(format!(
                    "layer {layer} {} is missing: the configuration names it, and the file has no \
                     factors of it; save the adapter anew",
                    missing.name()
                ));
            }
        }
        for (&(layer, projection), pair) in &self.layers {
            let (d_in, d_out) = model.projection_dims(projection);
            let fits = layer < model.num_layers
                && pair.a.dim() == (self.config.rank, d_in)
                && pair.b.dim() == (d_out, self.config.rank);
            if !fits {
                return fail(format!(
                    "layer {layer} {}: A {:?}, B {:?}; the model has {} layers and wants A {:?}, B \
                     {:?}",
                    projection.name(),
                    pair.a.dim(),
                    pair.b.dim(),
                    model.num_layers,
                    (self.config.rank, d_in),
                    (d_out, self.config.rank),
                ));
            }
        }
        Ok(())
    }

    /// The whole adapter as one safetensors file, configuration and fingerprint in its header.
    ///
    /// # Errors
    ///
    /// [`ModelError::Adapter`] if it cannot be written as such.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let fail = |reason: String| ModelError::Adapter { adapter: "to bytes".into(), reason };
        let header =
            Header { config: self.config.clone(), base: self.base.clone(), nested: self.nested };
        let json = serde_json::to_string(&header).map_err(|e| fail(e.to_string()))?;
        let metadata = [("spring".to_string(), json)].into();
        self.to_safetensors("", metadata).map_err(fail)
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    ///
    /// [`ModelError::Adapter`] if the bytes are not such a file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let fail = |reason: String| ModelError::Adapter { adapter: "from bytes".into(), reason };
        let file = Weights::from_bytes(bytes, "from bytes".into())?;
        let json = file
            .note("spring")
            .ok_or_else(|| fail("the header lacks the adapter's configuration".into()))?;
        let header: Header = spring_numerics::words::from_json(json.as_bytes())
            .map_err(|e| fail(format!("its header: {e}")))?;
        header.config.check()?;
        let layers = read_factors(&file, |_, _| header.config.rank, |name| Some(name.to_owned()))?;
        Ok(Self { config: header.config, base: header.base, nested: header.nested, layers })
    }

    /// The factors as safetensors, each name behind `prefix`.
    pub(crate) fn to_safetensors(
        &self,
        prefix: &str,
        metadata: std::collections::HashMap<String, String>,
    ) -> std::result::Result<Vec<u8>, String> {
        let mut buffers = Vec::new();
        for ((layer, projection), pair) in &self.layers {
            for (factor, matrix) in [("lora_A", &pair.a), ("lora_B", &pair.b)] {
                let name = format!("{prefix}layers.{layer}.{}.{factor}.weight", projection.path());
                let bytes: Vec<u8> = matrix.iter().flat_map(|x| x.to_le_bytes()).collect();
                buffers.push((name, [matrix.nrows(), matrix.ncols()], bytes));
            }
        }
        let views = buffers
            .iter()
            .map(|(name, shape, bytes)| {
                Ok((name, TensorView::new(Dtype::F32, shape.to_vec(), bytes)?))
            })
            .collect::<std::result::Result<Vec<_>, safetensors::SafeTensorError>>()
            .map_err(|e| e.to_string())?;
        safetensors::serialize(views, Some(metadata)).map_err(|e| e.to_string())
    }
}

/// Reads pairs of factors; `place` turns a tensor's name into
/// `layers.3.self_attn.q_proj.lora_A.weight`, or `None` for one to leave out.
pub(crate) fn read_factors(
    file: &Weights<'_>,
    rank: impl Fn(usize, Projection) -> usize,
    place: impl Fn(&str) -> Option<String>,
) -> Result<BTreeMap<(usize, Projection), LoraPair>> {
    let fail = |reason: String| ModelError::Adapter { adapter: file.label().into(), reason };
    let mut halves: BTreeMap<(usize, Projection), [Option<Array2<f32>>; 2]> = BTreeMap::new();
    for name in file.names() {
        let Some(key) = place(&name) else { continue };
        let (layer, projection, factor) = parse_key(&key)
            .ok_or_else(|| fail(format!("tensor {name} is not a LoRA factor of a known layer")))?;
        let matrix = file.matrix(&name)?;
        let found = if factor == 0 { matrix.nrows() } else { matrix.ncols() };
        let rank = rank(layer, projection);
        if found != rank {
            return Err(fail(format!(
                "tensor {name} has rank {found}; the configuration says {rank}"
            )));
        }
        if let Some(bad) = matrix.iter().find(|x| !x.is_finite()) {
            let place = matrix
                .indexed_iter()
                .find(|(_, x)| !x.is_finite())
                .map_or((0, 0), |(place, _)| place);
            return Err(fail(format!(
                "tensor {name} holds {bad} in row {}, column {}",
                place.0 + 1,
                place.1 + 1
            )));
        }
        halves.entry((layer, projection)).or_default()[factor] = Some(matrix);
    }
    let layers = halves
        .into_iter()
        .map(|((layer, projection), pair)| match pair {
            [Some(a), Some(b)] => Ok(((layer, projection), LoraPair { a, b })),
            _ => Err(fail(format!(
                "layer {layer} {} has only one of lora_A and lora_B",
                projection.name()
            ))),
        })
        .collect::<Result<BTreeMap<_, _>>>()?;
    match layers.is_empty() {
        true => Err(fail("it holds no LoRA factor".into())),
        false => Ok(layers),
    }
}

/// `layers.3.self_attn.q_proj.lora_A.weight` → (3, Q, 0).
fn parse_key(key: &str) -> Option<(usize, Projection, usize)> {
    let rest = key.strip_prefix("layers.")?;
    let (layer, rest) = rest.split_once('.')?;
    let (path, factor) = [(".lora_A.weight", 0), (".lora_B.weight", 1)]
        .iter()
        .find_map(|(end, i)| Some((rest.strip_suffix(end)?, *i)))?;
    let projection = Projection::ALL.into_iter().find(|p| p.path() == path)?;
    Some((layer.parse().ok()?, projection, factor))
}

/// The generator of one layer's numbers: the same for any order in which layers are visited.
pub fn keyed_rng(seed: u64, layer: usize, projection: Projection) -> KeyedRng {
    key::stream(seed, (layer as u64) << 3 | projection as u64)
}
