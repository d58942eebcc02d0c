use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::error::{GgufError, Result};
use crate::{BlockFormat, Header, Limits, Metadata, TensorInfo, dequantise, shards};

/// An open GGUF model: one file, or all parts of one.
///
/// Opening reads metadata and tensor tables only; a tensor's bytes are read when asked for.
#[derive(Debug)]
pub struct GgufFile {
    shards: Vec<Shard>,
    metadata: Metadata,
    tensors: Vec<TensorInfo>,
    index: HashMap<String, usize>,
}

#[derive(Debug)]
struct Shard {
    path: PathBuf,
    // Read with a seek in front, so one reader at a time.
    file: Mutex<File>,
}

impl GgufFile {
    /// Opens a model; of one in several files any part may be named.
    ///
    /// # Errors
    ///
    /// If a file cannot be read, is damaged, or the parts do not fit together.
    pub fn open(path: impl AsRef<Path>) -> Result<GgufFile> {
        GgufFile::open_with(path, &Limits::default())
    }

    /// [`GgufFile::open`] with other limits than the default ones.
    ///
    /// # Errors
    ///
    /// As [`GgufFile::open`].
    pub fn open_with(path: impl AsRef<Path>, limits: &Limits) -> Result<GgufFile> {
        let path = path.as_ref();
        let (header, file) = open_one(path, limits)?;
        let count = shards::count(&header.metadata, path, limits)?;
        if count <= 1 {
            let shard = Shard { path: path.into(), file: Mutex::new(file) };
            return GgufFile::assemble(vec![shard], header.metadata, header.tensors);
        }
        let (mut parts, mut tensors, mut metadata) = (Vec::new(), Vec::new(), None);
        for number in 0..count {
            let path = shards::sibling(path, number, count)?;
            let (header, file) = open_one(&path, limits)?;
            shards::check(&header.metadata, number, count, &path, limits)?;
            let own = header.tensors.into_iter();
            tensors.extend(own.map(|tensor| TensorInfo { shard: number as usize, ..tensor }));
            metadata.get_or_insert(header.metadata);
            parts.push(Shard { path, file: Mutex::new(file) });
        }
        let metadata = metadata.unwrap_or_default();
        shards::check_total(&metadata, tensors.len(), &parts[0].path)?;
        GgufFile::assemble(parts, metadata, tensors)
    }

    fn assemble(
        shards: Vec<Shard>,
        metadata: Metadata,
        tensors: Vec<TensorInfo>,
    ) -> Result<GgufFile> {
        let mut index = HashMap::with_capacity(tensors.len());
        for (i, tensor) in tensors.iter().enumerate() {
            if index.insert(tensor.name.clone(), i).is_some() {
                return Err(GgufError::Tensor {
                    path: shards[tensor.shard].path.clone(),
                    tensor: tensor.name.clone(),
                    problem: "is in two of the model's files; fetch them again".to_owned(),
                });
            }
        }
        Ok(GgufFile { shards, metadata, tensors, index })
    }

    /// The file's path; of a model in several files, the first part's.
    pub fn path(&self) -> &Path {
        &self.shards[0].path
    }

    /// The paths of all the model's files, in the order of [`TensorInfo::shard`].
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.shards.iter().map(|shard| shard.path.as_path())
    }

    /// The metadata; of a model in several files, the first part's.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// All tensors, in the file's order.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// A tensor's row of the table, where it is there.
    pub fn find(&self, name: &str) -> Option<&TensorInfo> {
        self.index.get(name).map(|&i| &self.tensors[i])
    }

    /// A tensor's row of the table.
    ///
    /// # Errors
    ///
    /// If there is no such tensor.
    pub fn tensor(&self, name: &str) -> Result<&TensorInfo> {
        self.find(name).ok_or_else(|| {
            let problem = "is not in the file; take a complete file of this model";
            self.at_tensor(0, name, problem.to_owned())
        })
    }

    /// A tensor's format.
    ///
    /// # Errors
    ///
    /// If it is one that is not read.
    pub fn format(&self, tensor: &TensorInfo) -> Result<BlockFormat> {
        tensor.format().ok_or_else(|| GgufError::Format {
            path: self.shards[tensor.shard].path.clone(),
            tensor: tensor.name.clone(),
            found: tensor.format_name(),
            supported: BlockFormat::supported(),
        })
    }

    /// Checks that a tensor has a shape, innermost dimension first.
    ///
    /// # Errors
    ///
    /// If the tensor is missing or has another shape.
    pub fn expect(&self, name: &str, dims: &[u64]) -> Result<&TensorInfo> {
        let tensor = self.tensor(name)?;
        if tensor.dims == dims {
            return Ok(tensor);
        }
        let problem = format!(
            "has the shape {:?} and the metadata ask for {dims:?}; take a file made by a current \
             converter",
            tensor.dims
        );
        Err(self.at_tensor(tensor.shard, name, problem))
    }

    /// The bytes of some of a tensor's rows, as stored; `into` is cleared first.
    ///
    /// # Errors
    ///
    /// If the tensor's format is not read, there are fewer rows, or reading fails.
    pub fn read_rows(
        &self,
        tensor: &TensorInfo,
        rows: Range<u64>,
        into: &mut Vec<u8>,
    ) -> Result<()> {
        self.format(tensor)?;
        if rows.start > rows.end || rows.end > tensor.rows() {
            let problem = format!("has {} rows, not rows {rows:?}", tensor.rows());
            return Err(self.at_tensor(tensor.shard, &tensor.name, problem));
        }
        let row = tensor.bytes / tensor.rows();
        let count = row * (rows.end - rows.start);
        let shard = &self.shards[tensor.shard];
        let failed = |source| GgufError::Io {
            path: shard.path.clone(),
            doing: format!("read tensor {}", tensor.name),
            source,
        };
        into.clear();
        let mut file = shard.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(tensor.start + row * rows.start)).map_err(failed)?;
        // A file that has become shorter since it was opened gives less, not an allocation.
        let read = file.by_ref().take(count).read_to_end(into).map_err(failed)?;
        if read as u64 != count {
            return Err(failed(std::io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(())
    }

    /// A tensor's bytes, as stored.
    ///
    /// # Errors
    ///
    /// If there is no such tensor, its format is not read, or reading fails.
    pub fn bytes(&self, name: &str) -> Result<Vec<u8>> {
        let tensor = self.tensor(name)?;
        let mut bytes = Vec::new();
        self.read_rows(tensor, 0..tensor.rows(), &mut bytes)?;
        Ok(bytes)
    }

    /// A tensor's values.
    ///
    /// # Errors
    ///
    /// As [`GgufFile::bytes`].
    pub fn values(&self, name: &str) -> Result<Vec<f32>> {
        let tensor = self.tensor(name)?;
        let format = self.format(tensor)?;
        let bytes = self.bytes(name)?;
        let mut values = vec![0.0; bytes.len() / format.block_bytes() * format.block_len()];
        dequantise(format, &bytes, &mut values);
        Ok(values)
    }

    pub(crate) fn at_tensor(&self, shard: usize, name: &str, problem: String) -> GgufError {
        let path = self.shards[shard].path.clone();
        GgufError::Tensor { path, tensor: name.to_owned(), problem }
    }

    pub(crate) fn at_key(&self, key: &str, problem: impl Into<String>) -> GgufError {
        let (path, key) = (self.path().into(), key.to_owned());
        GgufError::Key { path, key, problem: problem.into() }
    }
}

fn open_one(path: &Path, limits: &Limits) -> Result<(Header, File)> {
    let failed = |doing: &str| {
        let doing = doing.to_owned();
        move |source| GgufError::Io { path: path.into(), doing, source }
    };
    let file = spring_numerics::file::open(path).map_err(failed("open the file"))?;
    let length = file.metadata().map_err(failed("tell the file's length"))?.len();
    let header = Header::read(BufReader::with_capacity(1 << 16, &file), length, path, limits)?;
    Ok((header, file))
}
