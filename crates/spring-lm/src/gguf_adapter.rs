//! LoRA adapters in GGUF files, which llama.cpp runs beside a base model.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{BufWriter, ErrorKind, Write},
    path::Path,
};

use ndarray::{Array2, Axis};
use spring_gguf::{Architecture, GgufFile, Lora, LoraBase, LoraFactors, LoraFormat, LoraTarget};

use crate::{Adapter, LoraConfig, LoraPair, ModelConfig, ModelError, Projection, Result};

impl Adapter {
    /// Loads a LoRA adapter from a GGUF file, for a base model of this configuration.
    ///
    /// Ranks that differ between layers are brought to one: factors of a smaller rank are filled
    /// with zeros, and B takes up the ratio of the scales. A layer that is not adapted has factors
    /// of zeros. The adapter's fingerprint is empty unless this crate wrote the file.
    ///
    /// # Errors
    ///
    /// [`ModelError::Gguf`], naming the file and the tensor or key, for everything that is no
    /// adapter of this base; [`ModelError::Adapter`] for a base whose family has none.
    pub fn load_gguf(path: impl AsRef<Path>, base: &ModelConfig) -> Result<Self> {
        let path = path.as_ref();
        let (nested, base) = (base.multimodal, lora_base(base, path)?);
        let Lora { alpha, base: fingerprint, factors } = GgufFile::open(path)?.lora(&base)?;
        let rank = factors.values().map(|factors| factors.rank).max().unwrap_or(1);
        // A file without alpha has a scale of 1.
        let scale = |rank: usize| if alpha == 0.0 { 1.0 } else { alpha / rank as f32 };
        let alpha = if alpha == 0.0 { rank as f64 } else { f64::from(alpha) };
        let has = |target| factors.keys().any(|(_, own)| *own == target_of(target));
        let targets: Vec<Projection> = Projection::ALL.into_iter().filter(|p| has(*p)).collect();
        let blocks: BTreeSet<usize> = factors.keys().map(|(layer, _)| *layer).collect();
        let mut pairs = Vec::new();
        for &layer in &blocks {
            for &projection in &targets {
                let target = target_of(projection);
                let (inputs, outputs) = base.shape(target);
                let mut a = Array2::zeros((rank, inputs));
                let mut b = Array2::zeros((outputs, rank));
                if let Some(LoraFactors { rank: own, a: a_of, b: b_of }) =
                    factors.get(&(layer, target))
                {
                    let ratio = if *own == rank { 1.0 } else { scale(*own) / scale(rank) };
                    let shaped = |values: &Vec<f32>, shape| {
                        Array2::from_shape_vec(shape, values.clone()).map_err(|error| {
                            fail(path, format!("block {layer} {}: {error}", projection.name()))
                        })
                    };
                    let mut rows = a.slice_axis_mut(Axis(0), (..*own).into());
                    rows.assign(&shaped(a_of, (*own, inputs))?);
                    let b_of = shaped(b_of, (outputs, *own))?;
                    let mut columns = b.slice_axis_mut(Axis(1), (..*own).into());
                    columns.assign(&b_of.mapv(|value| value * ratio));
                }
                pairs.push((layer, projection, LoraPair { a, b }));
            }
        }
        let layers = (blocks.len() < base.layers).then(|| blocks.into_iter().collect());
        let config = LoraConfig { rank, alpha, dropout: 0.0, use_rslora: false, targets, layers };
        // The file does not say it; in a PEFT folder, names depend on it.
        Ok(Adapter { nested, ..Adapter::from_pairs(config, &fingerprint, pairs)? })
    }

    /// Writes a GGUF file that llama.cpp loads beside a base model of this configuration, in
    /// 32-bit floats; a file that is there is replaced.
    ///
    /// # Errors
    ///
    /// [`ModelError::Io`], naming the file, or [`ModelError::Adapter`] if the adapter does not fit
    /// the base or the base's family has no such files.
    pub fn save_gguf(&self, path: impl AsRef<Path>, base: &ModelConfig) -> Result<()> {
        let path = path.as_ref();
        let base = lora_base(base, path)?;
        let rank = self.config.rank;
        // llama.cpp divides by the rank, whatever made the factors.
        let alpha = (self.config.scale() * rank as f64) as f32;
        let factors: BTreeMap<_, _> = self
            .pairs()
            .map(|(layer, projection, pair)| {
                let (a, b) = (pair.a.iter().copied().collect(), pair.b.iter().copied().collect());
                ((layer, target_of(projection)), LoraFactors { rank: pair.a.nrows(), a, b })
            })
            .collect();
        let write = || {
            let mut to = BufWriter::new(File::create(path)?);
            let lora = Lora { alpha, base: self.base.clone(), factors };
            lora.write(&base, LoraFormat::F32, &mut to)?;
            to.flush()?;
            to.get_ref().sync_all()
        };
        write().map_err(|source| match source.kind() {
            ErrorKind::InvalidInput => fail(path, source.to_string()),
            _ => ModelError::Io { path: path.into(), source },
        })
    }
}

fn fail(path: &Path, reason: String) -> ModelError {
    ModelError::Adapter { adapter: path.display().to_string(), reason }
}

fn lora_base(config: &ModelConfig, path: &Path) -> Result<LoraBase> {
    let architecture = match config.model_type.as_str() {
        "llama" | "mistral" => Architecture::Llama,
        "qwen2" => Architecture::Qwen2,
        "qwen3" => Architecture::Qwen3,
        "gemma3" | "gemma3_text" => Architecture::Gemma3,
        other => {
            let reason = format!("GGUF has no adapters for a base of the family {other:?} here");
            return Err(fail(path, reason));
        }
    };
    Ok(LoraBase {
        architecture,
        layers: config.num_layers,
        hidden: config.hidden_size,
        feed_forward: config.intermediate_size,
        heads: config.num_heads,
        kv_heads: config.num_kv_heads,
        key_length: config.head_dim,
        value_length: config.head_dim,
    })
}

fn target_of(projection: Projection) -> LoraTarget {
    match projection {
        Projection::Q => LoraTarget::Query,
        Projection::K => LoraTarget::Key,
        Projection::V => LoraTarget::Value,
        Projection::O => LoraTarget::Output,
        Projection::Gate => LoraTarget::Gate,
        Projection::Up => LoraTarget::Up,
        Projection::Down => LoraTarget::Down,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn model(kind: &str) -> ModelConfig {
        let json = serde_json::json!({
            "model_type": kind, "vocab_size": 320, "hidden_size": 48, "intermediate_size": 96,
            "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
            "head_dim": 12
        });
        let json = match kind {
            "gemma3" => serde_json::json!({"model_type": kind, "text_config": json}),
            _ => json,
        };
        ModelConfig::from_json(&serde_json::to_vec(&json).unwrap(), "config.json").unwrap()
    }

    fn adapter(model: &ModelConfig, lora: LoraConfig) -> Adapter {
        let mut adapter = Adapter::init(&lora, model, "", 7).unwrap();
        for (layer, projection, pair) in adapter.pairs_mut() {
            let start = layer as f32 + projection as usize as f32 / 8.0;
            for (i, value) in pair.b.iter_mut().enumerate() {
                *value = start + i as f32 / 64.0;
            }
        }
        adapter
    }

    #[test]
    fn an_adapter_comes_back_to_the_last_bit() {
        for kind in ["llama", "mistral", "qwen2", "qwen3", "gemma3_text", "gemma3"] {
            let model = model(kind);
            for layers in [None, Some(vec![0, 2])] {
                let targets = Projection::ALL.to_vec();
                let config = LoraConfig {
                    rank: 3,
                    alpha: 7.5,
                    dropout: 0.0,
                    targets,
                    layers,
                    ..LoraConfig::default()
                };
                let adapter = adapter(&model, config);
                let dir = tempfile::tempdir().unwrap();
                let path = dir.path().join("adapter.gguf");
                adapter.save_gguf(&path, &model).unwrap();
                let read = Adapter::load_gguf(&path, &model).unwrap();
                assert_eq!(read, adapter, "{kind}");
                assert_eq!(read.nested, kind == "gemma3");
                read.check(&model, "whatever").unwrap();
            }
        }
    }

    #[test]
    fn scales_are_the_same_whatever_the_rank() {
        let model = model("llama");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("adapter.gguf");
        let config = LoraConfig { rank: 4, alpha: 6.0, use_rslora: true, ..LoraConfig::default() };
        let stable = adapter(&model, config);
        stable.save_gguf(&path, &model).unwrap();
        let read = Adapter::load_gguf(&path, &model).unwrap();
        assert_eq!((read.config.scale(), read.config.use_rslora), (3.0, false));
        // Two ranks and a layer that is not adapted.
        let base = lora_base(&model, &path).unwrap();
        let factors = |rank: usize, (inputs, outputs): (usize, usize)| LoraFactors {
            rank,
            a: vec![1.0; rank * inputs],
            b: vec![0.5; rank * outputs],
        };
        let (q, v) = (LoraTarget::Query, LoraTarget::Value);
        let pairs = [((0, q), factors(1, base.shape(q))), ((1, v), factors(4, base.shape(v)))];
        for (alpha, scales) in [(2.0f32, [2.0, 0.5]), (0.0, [1.0, 1.0])] {
            let lora = Lora { alpha, base: String::new(), factors: pairs.clone().into() };
            lora.write(&base, LoraFormat::F16, File::create(&path).unwrap()).unwrap();
            let read = Adapter::load_gguf(&path, &model).unwrap();
            read.check(&model, "").unwrap();
            assert_eq!((read.config.rank, read.config.layers.as_deref()), (4, Some(&[0, 1][..])));
            for ((layer, projection, rank), scale) in
                [(0, Projection::Q, 1.0), (1, Projection::V, 4.0)].into_iter().zip(scales)
            {
                let pair = read.pair(layer, projection).unwrap();
                let product = pair.b.dot(&pair.a).mapv(|value| value * read.config.scale() as f32);
                assert!(product.iter().all(|value| *value == 0.5 * rank * scale), "{product}");
            }
            let absent = read.pair(1, Projection::Q).unwrap();
            assert!(absent.a.iter().chain(&absent.b).all(|value| *value == 0.0));
        }
    }

    #[test]
    fn an_adapter_of_another_base_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("adapter.gguf");
        adapter(&model("llama"), LoraConfig::default()).save_gguf(&path, &model("llama")).unwrap();
        let error = Adapter::load_gguf(&path, &model("qwen2")).unwrap_err().to_string();
        assert!(error.contains("adapter.gguf") && error.contains("\"llama\""), "{error}");
        let other = ModelConfig { hidden_size: 96, ..model("llama") };
        let error = Adapter::load_gguf(&path, &other).unwrap_err().to_string();
        assert!(error.contains("blk.0.attn_q.weight.lora_a"), "{error}");
        let error = adapter(&model("llama"), LoraConfig::default()).save_gguf(&path, &other);
        assert!(error.unwrap_err().to_string().contains("do not fit"));
        // Of the same shape, but with other weights.
        let mut of_base = adapter(&model("llama"), LoraConfig::default());
        of_base.base = "f00d".into();
        of_base.save_gguf(&path, &model("llama")).unwrap();
        let read = Adapter::load_gguf(&path, &model("llama")).unwrap();
        read.check(&model("llama"), "f00d").unwrap();
        let error = read.check(&model("llama"), "beef").unwrap_err().to_string();
        assert!(error.contains("made for the base model f00d"), "{error}");
    }
}
