//! One safetensors file, read tensor by tensor.
//!
//! Numbers are read in blocks and converted at once into their final type, so that loading needs
//! the memory of the weights and one block. A mapped file would need no less, and a file that is
//! cut short under a running program would end it; here that is an error.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::Path,
};

use half::{bf16, f16};
use ndarray::Array2;
use safetensors::{Dtype, tensor::Metadata};
use spring_numerics::words::{from_json, of_system};

use crate::{ModelError, Result};

/// The header names tensors, some 100 bytes each; the library has the same limit.
const MAX_HEADER: u64 = 100_000_000;
const BLOCK: usize = 1 << 20;

/// An open weights file whose header was checked: no tensor lies outside the file, and none over
/// another.
#[derive(Debug)]
pub struct Weights<'a> {
    label: String,
    source: Source<'a>,
    metadata: Metadata,
    /// Where the numbers begin.
    start: u64,
}

#[derive(Debug)]
enum Source<'a> {
    File(File),
    Bytes(&'a [u8]),
}

impl Source<'_> {
    fn read_at(&self, at: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        match self {
            Self::File(file) => {
                let mut file = file;
                file.seek(SeekFrom::Start(at))?;
                file.read_exact(buffer)
            }
            Self::Bytes(bytes) => {
                let at = usize::try_from(at).ok();
                let part = at.and_then(|at| bytes.get(at..at.checked_add(buffer.len())?));
                buffer.copy_from_slice(part.ok_or(std::io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }
}

impl<'a> Weights<'a> {
    /// Opens a file and checks its header.
    ///
    /// # Errors
    ///
    /// [`ModelError::Io`] if it cannot be read, [`ModelError::Weights`] if it is damaged.
    pub fn open(path: &Path) -> Result<Self> {
        let io = |source| ModelError::Io { path: path.into(), source };
        let file = spring_numerics::file::open(path).map_err(io)?;
        let len = file.metadata().map_err(io)?.len();
        Self::new(Source::File(file), len, path.display().to_string())
    }

    /// The same of a file that is open already; `label` is how errors name it.
    ///
    /// # Errors
    ///
    /// [`ModelError::Weights`] if it is damaged or cannot be read.
    pub fn from_file(file: File, label: String) -> Result<Self> {
        let fail = |e| ModelError::Weights { file: label.clone(), reason: of_system(&e) };
        let len = file.metadata().map_err(fail)?.len();
        Self::new(Source::File(file), len, label)
    }

    /// The same of bytes in memory; `label` is how errors name them.
    ///
    /// # Errors
    ///
    /// [`ModelError::Weights`] if they are damaged.
    pub fn from_bytes(bytes: &'a [u8], label: String) -> Result<Self> {
        Self::new(Source::Bytes(bytes), bytes.len() as u64, label)
    }

    fn new(source: Source<'a>, len: u64, label: String) -> Result<Self> {
        let fail = |reason: String| ModelError::Weights { file: label.clone(), reason };
        let mut size = [0; 8];
        source.read_at(0, &mut size).map_err(|e| fail(of_system(&e)))?;
        let first = size;
        let size = u64::from_le_bytes(size);
        if crate::json::GIT_LFS.starts_with(&first) {
            let reason = crate::json::GIT_LFS_ADVICE.into();
            return Err(ModelError::Config { file: label, reason });
        }
        if size > MAX_HEADER || size + 8 > len {
            return Err(fail(format!("its header of {size} bytes does not fit")));
        }
        let mut header = vec![0; size as usize];
        source.read_at(8, &mut header).map_err(|e| fail(of_system(&e)))?;
        // Reading checks that every tensor's offsets fit its shape and follow the one before.
        let metadata: Metadata =
            from_json(&header).map_err(|e| fail(format!("its header: {}", e.in_its_line())))?;
        let start = size + 8;
        if start.checked_add(metadata.data_len() as u64) != Some(len) {
            return Err(fail(format!(
                "it has {len} bytes, and its header tells of {}",
                start.saturating_add(metadata.data_len() as u64)
            )));
        }
        Ok(Self { label, source, metadata, start })
    }

    /// What errors call this file.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The header's free text.
    pub fn note(&self, key: &str) -> Option<&str> {
        Some(self.metadata.metadata().as_ref()?.get(key)?.as_str())
    }

    /// Names of all tensors, in the order of the file.
    pub fn names(&self) -> Vec<String> {
        self.metadata.offset_keys()
    }

    /// The shape of a tensor, if it is there.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        Some(&self.metadata.info(name)?.shape)
    }

    /// The numbers of a tensor, which must be there, in blocks as f32.
    fn for_each_block(
        &self,
        name: &str,
        mut visit: impl FnMut(&mut dyn Iterator<Item = f32>),
    ) -> Result<()> {
        let missing =
            || ModelError::MissingTensor { file: self.label.clone(), tensor: name.into() };
        let info = self.metadata.info(name).ok_or_else(missing)?;
        let (mut at, end) = (info.data_offsets.0, info.data_offsets.1);
        let mut block = vec![0; BLOCK.min(end - at)];
        while at < end {
            let block = &mut block[..BLOCK.min(end - at)];
            self.source.read_at(self.start + at as u64, block).map_err(|e| {
                ModelError::Weights {
                    file: self.label.clone(),
                    reason: format!("{name}: {}", of_system(&e)),
                }
            })?;
            match info.dtype {
                Dtype::F32 => {
                    visit(&mut block.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)))
                }
                Dtype::F16 => {
                    visit(&mut block.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()))
                }
                Dtype::BF16 => {
                    visit(&mut block.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()))
                }
                other => {
                    return Err(ModelError::Tensor {
                        file: self.label.clone(),
                        tensor: name.into(),
                        found: format!("of type {other:?}"),
                        expected: "F32, F16 or BF16".into(),
                    });
                }
            }
            at += block.len();
        }
        Ok(())
    }

    /// The numbers of a tensor of that shape, row by row, each through `convert`.
    ///
    /// # Errors
    ///
    /// [`ModelError::Tensor`] if it has another shape, is of no float type, or holds what is no
    /// finite number, with the place; [`ModelError::Weights`] if the file cannot be read.
    pub fn numbers<T>(
        &self,
        name: &str,
        shape: &[usize],
        convert: impl Fn(f32) -> T,
    ) -> Result<Vec<T>> {
        let found = self.shape(name).unwrap_or(&[]);
        if found != shape {
            return Err(ModelError::Tensor {
                file: self.label.clone(),
                tensor: name.into(),
                found: format!("of shape {found:?}"),
                expected: format!("{shape:?}"),
            });
        }
        let mut is_finite = true;
        let numbers = self.read(name, |x| {
            is_finite &= x.is_finite();
            convert(x)
        })?;
        if is_finite { Ok(numbers) } else { Err(self.not_finite(name, shape)?) }
    }

    /// Says where a tensor holds what is no number.
    fn not_finite(&self, name: &str, shape: &[usize]) -> Result<ModelError> {
        let numbers = self.read(name, |x| x)?;
        let at = numbers.iter().position(|x| !x.is_finite()).unwrap_or_default();
        let columns = shape.last().copied().unwrap_or(1).max(1);
        let place = match shape.len() {
            1 => format!("place {}", at + 1),
            _ => format!("row {}, column {}", at / columns + 1, at % columns + 1),
        };
        Ok(ModelError::Tensor {
            file: self.label.clone(),
            tensor: name.into(),
            found: format!("{} in {place}", numbers.get(at).copied().unwrap_or(f32::NAN)),
            expected: "finite numbers; the weights are damaged, fetch them again".into(),
        })
    }

    fn read<T>(&self, name: &str, mut convert: impl FnMut(f32) -> T) -> Result<Vec<T>> {
        let mut numbers = Vec::with_capacity(self.shape(name).unwrap_or(&[]).iter().product());
        self.for_each_block(name, |block| numbers.extend(block.map(&mut convert)))?;
        Ok(numbers)
    }

    /// A matrix.
    ///
    /// # Errors
    ///
    /// [`ModelError::Tensor`] if the tensor is none, [`ModelError::Weights`] if the file cannot be
    /// read.
    pub fn matrix(&self, name: &str) -> Result<Array2<f32>> {
        let fail = |found| ModelError::Tensor {
            file: self.label.clone(),
            tensor: name.into(),
            found,
            expected: "a matrix".into(),
        };
        let &[rows, columns] = self.shape(name).unwrap_or(&[]) else {
            return Err(fail(format!("of shape {:?}", self.shape(name).unwrap_or(&[]))));
        };
        Array2::from_shape_vec((rows, columns), self.read(name, |x| x)?)
            .map_err(|e| fail(e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::TensorView;

    use super::*;

    fn file() -> Vec<u8> {
        let numbers: Vec<u8> = (0..6).flat_map(|i| f16::from_f32(i as f32).to_le_bytes()).collect();
        let view = TensorView::new(Dtype::F16, vec![2, 3], &numbers).unwrap();
        safetensors::serialize([("x", view)], None).unwrap()
    }

    #[test]
    fn half_precision_becomes_f32() {
        let bytes = file();
        let weights = Weights::from_bytes(&bytes, "f".into()).unwrap();
        assert_eq!(weights.names(), ["x"]);
        assert_eq!(weights.matrix("x").unwrap(), ndarray::array![[0., 1., 2.], [3., 4., 5.]]);
        assert!(matches!(weights.matrix("y"), Err(ModelError::Tensor { .. })));
    }

    #[test]
    fn what_is_no_number_is_found_with_its_place() {
        let mut numbers = [0.5f32; 6];
        numbers[4] = f32::NEG_INFINITY;
        let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        let view = |shape: &[usize]| {
            TensorView::new(Dtype::F32, shape.to_vec(), &bytes)
                .and_then(|view| safetensors::serialize([("x", view)], None))
                .unwrap()
        };
        for (shape, place) in [(&[2, 3][..], "row 2, column 2"), (&[6], "place 5")] {
            let file = view(shape);
            let weights = Weights::from_bytes(&file, "f".into()).unwrap();
            let error = weights.numbers("x", shape, |x| x).unwrap_err().to_string();
            assert!(error.starts_with(&format!("f: tensor x is -inf in {place}")), "{error}");
        }
    }

    #[test]
    fn a_damaged_file_is_refused() {
        let bytes = file();
        for cut in 0..bytes.len() {
            assert!(Weights::from_bytes(&bytes[..cut], "f".into()).is_err(), "cut at {cut}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(Weights::from_bytes(&longer, "f".into()).is_err());
        let mut huge = bytes;
        huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(Weights::from_bytes(&huge, "f".into()).is_err());
    }
}
