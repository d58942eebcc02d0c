//! A model's files in the Hugging Face layout, from a folder or from bytes inside the program.

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
};

use burn::tensor::{Tensor, TensorData, backend::Backend};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use sha2::{Digest, Sha256};

use crate::{ModelError, Result};

/// The files of one model.
///
/// Config and tokenizer are small and read at once; the weights are read shard by shard while loading.
#[derive(Debug, Clone)]
pub struct ModelFiles {
    label: String,
    pub(crate) config: Cow<'static, [u8]>,
    /// Only what turns text into tokens needs it.
    tokenizer: Option<Cow<'static, [u8]>>,
    weights: Vec<Shard>,
}

#[derive(Debug, Clone)]
enum Shard {
    File(PathBuf),
    Bytes(&'static [u8]),
}

/// Larger configuration files are refused: the biggest tokenizers in the wild have about 40 MB.
const MAX_TEXT_FILE: u64 = 256 << 20;

impl ModelFiles {
    /// The files of a folder: `config.json`, `tokenizer.json` (if there is one), and `model.safetensors` or the shards
    /// that `model.safetensors.index.json` lists.
    ///
    /// # Errors
    ///
    /// [`ModelError::Io`] or [`ModelError::Config`], naming the file that is missing or malformed.
    pub fn from_dir(dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref();
        let config = read_small(&dir.join("config.json"))?.into();
        let tokenizer = dir.join("tokenizer.json");
        let tokenizer = tokenizer.exists().then(|| read_small(&tokenizer)).transpose()?.map(Cow::from);
        Ok(Self { label: dir.display().to_string(), config, tokenizer, weights: shards(dir)? })
    }

    /// The same files compiled into a program; `label` is how errors name them.
    pub fn from_static(
        label: &str,
        config: &'static [u8],
        tokenizer: &'static [u8],
        weights: &'static [u8],
    ) -> Self {
        Self {
            label: label.into(),
            config: config.into(),
            tokenizer: Some(tokenizer.into()),
            weights: vec![Shard::Bytes(weights)],
        }
    }

    pub(crate) fn tokenizer(&self) -> Result<&[u8]> {
        self.tokenizer.as_deref().ok_or_else(|| ModelError::Tokenizer {
            file: self.file("tokenizer.json"),
            reason: "no such file; only the fast tokenizers' format is read".into(),
        })
    }

    /// What errors call this model: its folder, or the label given.
    pub fn label(&self) -> &str {
        &self.label
    }

    pub(crate) fn file(&self, name: &str) -> String {
        format!("{}/{name}", self.label)
    }

    /// Identifies config, tokenizer and weights: adapters and states carry it, and refuse another base.
    ///
    /// SHA-256 over the three, in hexadecimal. Of a weights file above 64 MiB, the length and 64 evenly spaced blocks
    /// of 64 KiB stand for the whole: training changes all of a file, and reading it all would cost as much as loading.
    ///
    /// # Errors
    ///
    /// [`ModelError::Io`] if a weights file cannot be read.
    pub fn fingerprint(&self) -> Result<String> {
        let mut hash = Sha256::new();
        for part in [&self.config, self.tokenizer.as_ref().unwrap_or(&Cow::Borrowed(&[]))] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        for shard in &self.weights {
            match shard {
                Shard::Bytes(bytes) => hash_blocks(&mut hash, bytes.len() as u64, |at, buffer| {
                    let at = at as usize;
                    buffer.copy_from_slice(&bytes[at..at + buffer.len()]);
                    Ok(())
                }),
                Shard::File(path) => hash_file(&mut hash, path),
            }
            .map_err(|source| ModelError::Io { path: shard.path(), source })?;
        }
        Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Opens every shard in turn and hands its tensors to `visit`.
    pub(crate) fn for_each_shard(
        &self,
        mut visit: impl FnMut(&str, &SafeTensors<'_>) -> Result<()>,
    ) -> Result<()> {
        for shard in &self.weights {
            let path = shard.path();
            let bytes: Cow<'_, [u8]> = match shard {
                Shard::Bytes(bytes) => (*bytes).into(),
                Shard::File(path) => std::fs::read(path)
                    .map_err(|source| ModelError::Io { path: path.clone(), source })?
                    .into(),
            };
            let file = match shard {
                Shard::Bytes(_) => self.file("model.safetensors"),
                Shard::File(_) => path.display().to_string(),
            };
            let tensors = SafeTensors::deserialize(&bytes)
                .map_err(|e| ModelError::Weights { file: file.clone(), reason: e.to_string() })?;
            visit(&file, &tensors)?;
        }
        Ok(())
    }
}

impl Shard {
    fn path(&self) -> PathBuf {
        match self {
            Self::File(path) => path.clone(),
            Self::Bytes(_) => "model.safetensors".into(),
        }
    }
}

const HASHED_WHOLE: u64 = 64 << 20;
const BLOCK: u64 = 64 << 10;

fn hash_blocks(
    hash: &mut Sha256,
    len: u64,
    mut read: impl FnMut(u64, &mut [u8]) -> std::io::Result<()>,
) -> std::io::Result<()> {
    hash.update(len.to_le_bytes());
    let blocks = if len <= HASHED_WHOLE { len.div_ceil(BLOCK) } else { 64 };
    let mut buffer = vec![0; BLOCK as usize];
    for block in 0..blocks {
        let at = if len <= HASHED_WHOLE { block * BLOCK } else { (len - BLOCK) / 63 * block };
        let size = BLOCK.min(len - at) as usize;
        read(at, &mut buffer[..size])?;
        hash.update(&buffer[..size]);
    }
    Ok(())
}

fn hash_file(hash: &mut Sha256, path: &Path) -> std::io::Result<()> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = std::fs::File::open(path)?;
    let len = file.metadata()?.len();
    hash_blocks(hash, len, |at, buffer| {
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(buffer)
    })
}

pub(crate) fn read_small(path: &Path) -> Result<Vec<u8>> {
    let io = |source| ModelError::Io { path: path.into(), source };
    let len = std::fs::metadata(path).map_err(io)?.len();
    if len > MAX_TEXT_FILE {
        return Err(ModelError::Config {
            file: path.display().to_string(),
            reason: format!("{len} bytes are more than the limit of {MAX_TEXT_FILE}"),
        });
    }
    std::fs::read(path).map_err(io)
}

fn shards(dir: &Path) -> Result<Vec<Shard>> {
    let single = dir.join("model.safetensors");
    let index = dir.join("model.safetensors.index.json");
    if single.exists() || !index.exists() {
        if !single.exists() {
            let source =
                std::io::Error::new(std::io::ErrorKind::NotFound, "no such file, and no index of shards");
            return Err(ModelError::Io { path: single, source });
        }
        return Ok(vec![Shard::File(single)]);
    }
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: std::collections::BTreeMap<String, String>,
    }
    let fail = |reason: String| ModelError::Config { file: index.display().to_string(), reason };
    let list: Index = serde_json::from_slice(&read_small(&index)?).map_err(|e| fail(e.to_string()))?;
    let names: std::collections::BTreeSet<String> = list.weight_map.into_values().collect();
    names
        .into_iter()
        .map(|name| {
            // A name from a file may not lead out of the folder.
            let plain = Path::new(&name).file_name().is_some_and(|n| n == name.as_str());
            if plain {
                Ok(Shard::File(dir.join(name)))
            } else {
                Err(fail(format!("{name:?} is not a plain file name")))
            }
        })
        .collect()
}

/// A view's numbers as f32; the three float types of published checkpoints are read.
pub(crate) fn floats(view: &TensorView<'_>, file: &str, tensor: &str) -> Result<Vec<f32>> {
    let bytes = view.data();
    Ok(match view.dtype() {
        Dtype::F32 => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Dtype::F16 => bytes.as_chunks().0.iter().map(|b| half::f16::from_le_bytes(*b).to_f32()).collect(),
        Dtype::BF16 => bytes.as_chunks().0.iter().map(|b| half::bf16::from_le_bytes(*b).to_f32()).collect(),
        other => {
            return Err(ModelError::Tensor {
                file: file.into(),
                tensor: tensor.into(),
                found: format!("of type {other:?}"),
                expected: "F32, F16 or BF16".into(),
            });
        }
    })
}

/// The tensor of that name and shape as the backend's float type, a vector as one row; `None` if this shard lacks it.
pub(crate) fn tensor<B: Backend>(
    shard: &SafeTensors<'_>,
    file: &str,
    name: &str,
    shape: &[usize],
    device: &B::Device,
) -> Result<Option<Tensor<B, 2>>> {
    let Ok(view) = shard.tensor(name) else { return Ok(None) };
    if view.shape() != shape {
        return Err(ModelError::Tensor {
            file: file.into(),
            tensor: name.into(),
            found: format!("of shape {:?}", view.shape()),
            expected: format!("{shape:?}"),
        });
    }
    let columns = shape.last().copied().unwrap_or(1);
    let rows = shape.iter().product::<usize>() / columns;
    let data = TensorData::new(floats(&view, file, name)?, [rows, columns]);
    Ok(Some(Tensor::from_data(data, device)))
}
