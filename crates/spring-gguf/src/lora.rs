//! LoRA adapters in GGUF files, as llama.cpp reads them.

use std::collections::BTreeMap;
use std::io::{self, Write};

use half::f16;

use crate::error::{GgufError, Result};
use crate::writer::Writer;
use crate::{Architecture, BlockFormat, GgufFile, Kind, ModelKeys, TensorInfo, rotation_row};

/// Ranks above this are refused.
const MAX_RANK: u64 = 1024;

/// The linear layers of a block that have adapters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // named as PEFT names them
pub enum LoraTarget {
    Query,
    Key,
    Value,
    Output,
    Gate,
    Up,
    Down,
}

impl LoraTarget {
    /// All of them, in a block's order.
    pub const ALL: [LoraTarget; 7] = [
        LoraTarget::Query,
        LoraTarget::Key,
        LoraTarget::Value,
        LoraTarget::Output,
        LoraTarget::Gate,
        LoraTarget::Up,
        LoraTarget::Down,
    ];

    /// The name in GGUF files, such as `attn_q`.
    pub fn gguf_name(self) -> &'static str {
        match self {
            LoraTarget::Query => "attn_q",
            LoraTarget::Key => "attn_k",
            LoraTarget::Value => "attn_v",
            LoraTarget::Output => "attn_output",
            LoraTarget::Gate => "ffn_gate",
            LoraTarget::Up => "ffn_up",
            LoraTarget::Down => "ffn_down",
        }
    }

    /// The path inside a block as PEFT names it, such as `self_attn.q_proj`.
    pub fn peft_path(self) -> &'static str {
        match self {
            LoraTarget::Query => "self_attn.q_proj",
            LoraTarget::Key => "self_attn.k_proj",
            LoraTarget::Value => "self_attn.v_proj",
            LoraTarget::Output => "self_attn.o_proj",
            LoraTarget::Gate => "mlp.gate_proj",
            LoraTarget::Up => "mlp.up_proj",
            LoraTarget::Down => "mlp.down_proj",
        }
    }
}

/// What an adapter has to know of its base model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoraBase {
    /// The architecture.
    pub architecture: Architecture,
    /// Layers.
    pub layers: usize,
    /// Width of the hidden states.
    pub hidden: usize,
    /// Width of the feed-forward part.
    pub feed_forward: usize,
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Width of a query's or key's head.
    pub key_length: usize,
    /// Width of a value's head.
    pub value_length: usize,
}

impl From<&ModelKeys> for LoraBase {
    fn from(keys: &ModelKeys) -> LoraBase {
        LoraBase {
            architecture: keys.architecture,
            layers: keys.layers,
            hidden: keys.hidden,
            feed_forward: keys.feed_forward,
            heads: keys.heads,
            kv_heads: keys.kv_heads,
            key_length: keys.key_length,
            value_length: keys.value_length,
        }
    }
}

impl LoraBase {
    /// Inputs and outputs of a layer's matrix.
    pub fn shape(&self, target: LoraTarget) -> (usize, usize) {
        match target {
            LoraTarget::Query => (self.hidden, self.heads * self.key_length),
            LoraTarget::Key => (self.hidden, self.kv_heads * self.key_length),
            LoraTarget::Value => (self.hidden, self.kv_heads * self.value_length),
            LoraTarget::Output => (self.heads * self.value_length, self.hidden),
            LoraTarget::Gate | LoraTarget::Up => (self.hidden, self.feed_forward),
            LoraTarget::Down => (self.feed_forward, self.hidden),
        }
    }

    /// Whether a matrix's rows are in the order of [`rotation_row`] in files.
    fn is_permuted(&self, target: LoraTarget) -> bool {
        self.architecture == Architecture::Llama
            && matches!(target, LoraTarget::Query | LoraTarget::Key)
    }
}

/// The two factors of one layer, as PEFT has them: an output is `W x + scale · B A x`.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraFactors {
    /// The rank: rows of A, columns of B.
    pub rank: usize,
    /// A, row after row: `rank` rows of as many values as the layer has inputs.
    pub a: Vec<f32>,
    /// B, row after row: as many rows of `rank` values as the layer has outputs. Rows of queries
    /// and keys are in the order of model folders, whatever a file has.
    pub b: Vec<f32>,
}

/// A LoRA adapter as plain numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Lora {
    /// The numerator of the scale: a layer's scale is `alpha` over its rank, or 1 where `alpha`
    /// is 0.
    pub alpha: f32,
    /// What whoever wrote the file calls the base model by, such as its fingerprint; empty where
    /// the file does not say, as those of other programs.
    pub base: String,
    /// The factors, by block, counted from 0, and layer.
    pub factors: BTreeMap<(usize, LoraTarget), LoraFactors>,
}

/// How factors are stored in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum LoraFormat {
    /// 32-bit floats: the same numbers come back.
    #[default]
    F32,
    /// 16-bit floats, each rounded to the nearest.
    F16,
}

/// The key of [`Lora::base`]; llama.cpp passes over it.
const BASE: &str = "spring.base";

impl GgufFile {
    /// The LoRA adapter that the file holds, for a base model.
    ///
    /// Factors may be stored in any format that is read. Rows of queries and keys are put back in
    /// the order of model folders.
    ///
    /// # Errors
    ///
    /// If the file holds something else, is for another architecture, or a tensor does not fit
    /// the base model, lacks its partner, or has a rank above 1,024 or a number that is not
    /// finite.
    pub fn lora(&self, base: &LoraBase) -> Result<Lora> {
        let wrong_kind = |found: String| GgufError::Adapter { path: self.path().into(), found };
        match self.kind() {
            Kind::Adapter => {}
            kind => return Err(wrong_kind(kind.to_string())),
        }
        match self.text("adapter.type")? {
            Some("lora") => {}
            other => {
                let other = other.unwrap_or("unknown");
                return Err(wrong_kind(format!("an adapter of the type {other:?}")));
            }
        }
        let key = "general.architecture";
        let (name, expected) = (self.text(key)?.unwrap_or_default(), base.architecture.name());
        if name != expected {
            let problem = format!(
                "is {name:?} and the base model is of {expected:?}; take the base that the \
                 adapter was trained on"
            );
            return Err(self.at_key(key, problem));
        }
        let key = "adapter.lora.alpha";
        let alpha = match self.metadata().get(key) {
            None => 0.0,
            Some(value) => match value.as_f64().map(|alpha| alpha as f32) {
                Some(alpha) if alpha.is_finite() && alpha >= 0.0 => alpha,
                _ => return Err(self.at_key(key, "must be a number that is not negative")),
            },
        };
        let mut pairs: BTreeMap<_, [Option<&TensorInfo>; 2]> = BTreeMap::new();
        for tensor in self.tensors() {
            let (layer, target, half) = self.place_of(tensor, base)?;
            pairs.entry((layer, target)).or_default()[half] = Some(tensor);
        }
        if pairs.is_empty() {
            return Err(wrong_kind("an adapter without a tensor".to_owned()));
        }
        let mut factors = BTreeMap::new();
        for (place, pair) in pairs {
            let (a, b) = match pair {
                [Some(a), Some(b)] => (a, b),
                [Some(alone), None] | [None, Some(alone)] => {
                    let problem = "is there without its partner (lora_a and lora_b); fetch the \
                                   file again";
                    return Err(self.at(alone, problem.to_owned()));
                }
                [None, None] => continue,
            };
            factors.insert(place, self.factors(base, place.1, a, b)?);
        }
        let base = self.text(BASE)?.unwrap_or_default().to_owned();
        Ok(Lora { alpha, base, factors })
    }

    fn at(&self, tensor: &TensorInfo, problem: String) -> GgufError {
        self.at_tensor(tensor.shard, &tensor.name, problem)
    }

    /// The block and layer that a tensor belongs to, and 0 for A or 1 for B.
    fn place_of(&self, tensor: &TensorInfo, base: &LoraBase) -> Result<(usize, LoraTarget, usize)> {
        let parts = || {
            let (layer, rest) = tensor.name.strip_prefix("blk.")?.split_once('.')?;
            let (target, half) = rest.split_once(".weight.lora_")?;
            let target = LoraTarget::ALL.into_iter().find(|own| own.gguf_name() == target)?;
            let half = ["a", "b"].iter().position(|own| *own == half)?;
            Some((layer.parse::<usize>().ok()?, target, half))
        };
        let Some((layer, target, half)) = parts() else {
            let names = LoraTarget::ALL.map(LoraTarget::gguf_name).join(", ");
            let problem = format!(
                "adapts what is not adapted here; take an adapter of the layers {names} alone"
            );
            return Err(self.at(tensor, problem));
        };
        if layer >= base.layers {
            let problem = format!(
                "is for block {layer}, counted from 0, and the base model has {}; take the base \
                 that the adapter was trained on",
                base.layers
            );
            return Err(self.at(tensor, problem));
        }
        Ok((layer, target, half))
    }

    fn factors(
        &self,
        base: &LoraBase,
        target: LoraTarget,
        a: &TensorInfo,
        b: &TensorInfo,
    ) -> Result<LoraFactors> {
        let (inputs, outputs) = base.shape(target);
        let rank = a.dims.get(1).copied().unwrap_or(1);
        if rank > MAX_RANK {
            let problem = format!("has the rank {rank}, and the highest is {MAX_RANK}");
            return Err(self.at(a, problem));
        }
        for (tensor, expected) in [(a, [inputs as u64, rank]), (b, [rank, outputs as u64])] {
            // A factor of rank 1 may have one dimension less.
            let mut dims = tensor.dims.clone();
            dims.resize(dims.len().max(2), 1);
            if dims != expected {
                let problem = format!(
                    "has the shape {:?}, and this base model needs {expected:?}; take the base \
                     that the adapter was trained on",
                    tensor.dims
                );
                return Err(self.at(tensor, problem));
            }
        }
        let finite = |tensor: &TensorInfo| {
            let values = self.values(&tensor.name)?;
            match values.iter().all(|value| value.is_finite()) {
                true => Ok(values),
                false => {
                    Err(self.at(tensor, "holds a number that is not finite; fetch it again".into()))
                }
            }
        };
        let (a, b, rank) = (finite(a)?, finite(b)?, rank as usize);
        let b = match base.is_permuted(target) {
            true => in_order(&b, rank, |row| rotation_row(row, base.key_length)),
            false => b,
        };
        Ok(LoraFactors { rank, a, b })
    }
}

/// Rows of `width` values in another order: row `r` of the result is row `order(r)`.
fn in_order(rows: &[f32], width: usize, order: impl Fn(usize) -> usize) -> Vec<f32> {
    (0..rows.len() / width).flat_map(|row| &rows[order(row) * width..][..width]).copied().collect()
}

impl Lora {
    /// Writes a file that llama.cpp loads beside the base model.
    ///
    /// # Errors
    ///
    /// If writing fails, or with [`io::ErrorKind::InvalidInput`] if the factors do not fit the
    /// base model, or one of their numbers is not finite as it is stored.
    pub fn write(&self, base: &LoraBase, format: LoraFormat, to: impl Write) -> io::Result<()> {
        let mut file = Writer::default();
        file.text("general.architecture", base.architecture.name());
        file.text("general.type", "adapter");
        file.u32("general.quantization_version", 2);
        file.u32("general.file_type", (format == LoraFormat::F16).into());
        file.text("adapter.type", "lora");
        file.f32("adapter.lora.alpha", self.alpha);
        if !self.base.is_empty() {
            file.text(BASE, &self.base);
        }
        for (&(layer, target), factors) in &self.factors {
            let LoraFactors { rank, a, b } = factors;
            let (rank, (inputs, outputs)) = (*rank, base.shape(target));
            let name = format!("blk.{layer}.{}.weight", target.gguf_name());
            let refuse = |problem: &str| {
                io::Error::new(io::ErrorKind::InvalidInput, format!("tensor {name}: {problem}"))
            };
            let fits = layer < base.layers
                && (1..=MAX_RANK).contains(&(rank as u64))
                && a.len() == rank * inputs
                && b.len() == rank * outputs;
            if !fits {
                return Err(refuse("the factors do not fit the base model"));
            }
            let permuted;
            let b = match base.is_permuted(target) {
                true => {
                    let mut place = vec![0; outputs];
                    (0..outputs).for_each(|row| place[rotation_row(row, base.key_length)] = row);
                    permuted = in_order(b, rank, |row| place[row]);
                    &permuted
                }
                false => b,
            };
            for (half, values, dims) in [("a", a, [inputs, rank]), ("b", b, [rank, outputs])] {
                let bytes = stored(values, format)
                    .ok_or_else(|| refuse("a number is not finite as it is stored"))?;
                let type_id = match format {
                    LoraFormat::F32 => BlockFormat::F32.id(),
                    LoraFormat::F16 => BlockFormat::F16.id(),
                };
                let dims = dims.map(|dim| dim as u64);
                file.tensor(&format!("{name}.lora_{half}"), &dims, type_id, &bytes);
            }
        }
        file.write(to)
    }
}

/// Numbers as bytes; none if one of them is not finite.
fn stored(values: &[f32], format: LoraFormat) -> Option<Vec<u8>> {
    let finite = |value: &f32| match format {
        LoraFormat::F32 => value.is_finite(),
        LoraFormat::F16 => f16::from_f32(*value).is_finite(),
    };
    values.iter().all(finite).then(|| match format {
        LoraFormat::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        LoraFormat::F16 => {
            values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect()
        }
    })
}
