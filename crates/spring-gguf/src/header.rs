//! A file's first part: version, metadata and tensor table, read with distrust.

use std::collections::HashSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::cursor::Cursor;
use crate::error::{GgufError, Result};
use crate::format::other_name;
use crate::{Array, BlockFormat, Limits, Metadata, Value};

/// A tensor's row of the table: name, shape, format and place.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TensorInfo {
    /// The name, such as `blk.0.attn_q.weight`.
    pub name: String,
    /// The lengths of its dimensions, the innermost (the one that lies together) first.
    pub dims: Vec<u64>,
    /// The number of its format; see [`TensorInfo::format`].
    pub type_id: u32,
    /// Where its bytes begin, from the file's start.
    pub start: u64,
    /// Its length in bytes; 0 for a format that is not read.
    pub bytes: u64,
    /// The file that holds it, counted from 0; not 0 only for models in several files.
    pub shard: usize,
}

impl TensorInfo {
    /// The format, or none where it is one that is not read.
    pub fn format(&self) -> Option<BlockFormat> {
        BlockFormat::from_id(self.type_id)
    }

    /// The format's name, also of one that is not read.
    pub fn format_name(&self) -> String {
        self.format().map_or_else(|| other_name(self.type_id), |format| format.name().to_owned())
    }

    /// Values per row.
    pub fn columns(&self) -> u64 {
        self.dims.first().copied().unwrap_or(1)
    }

    /// Rows: the product of all dimensions but the innermost.
    pub fn rows(&self) -> u64 {
        self.dims.iter().skip(1).product()
    }
}

/// What stands in front of a file's tensors.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Header {
    /// The version of the format, 2 or 3.
    pub version: u32,
    /// The metadata.
    pub metadata: Metadata,
    /// The tensors, in the file's order.
    pub tensors: Vec<TensorInfo>,
    /// Bytes between whose multiples tensors begin.
    pub alignment: u64,
}

impl Header {
    /// Reads a header; `length` is the whole file's length and `path` names it in errors.
    ///
    /// Nothing after the header is read.
    ///
    /// # Errors
    ///
    /// For everything that [`GgufError`] lists but shards, formats and kinds.
    pub fn read(from: impl Read, length: u64, path: &Path, limits: &Limits) -> Result<Header> {
        let mut cursor = Cursor::new(from, length, path, limits.header_bytes);
        let version = version(&mut cursor, path)?;
        let tensor_count = cursor.u64("the number of tensors")?;
        let key_count = cursor.u64("the number of keys")?;
        // A tensor takes 24 bytes at least, a key 13.
        cursor.believe("the tensor table", tensor_count, 24, limits.tensors)?;
        cursor.believe("the metadata", key_count, 13, limits.keys)?;
        let metadata = metadata(&mut cursor, key_count, limits)?;
        let alignment = alignment(&metadata, path, limits)?;
        let mut tensors = Vec::with_capacity(tensor_count as usize);
        let mut names = HashSet::with_capacity(tensor_count as usize);
        for index in 0..tensor_count {
            let tensor = tensor(&mut cursor, index, limits)?;
            if !names.insert(tensor.name.clone()) {
                return Err(at_tensor(path, &tensor.name, "is there twice; fetch the file again"));
            }
            tensors.push(tensor);
        }
        place(&mut tensors, cursor.at(), length, alignment, path)?;
        Ok(Header { version, metadata, tensors, alignment })
    }
}

fn version(cursor: &mut Cursor<'_, impl Read>, path: &Path) -> Result<u32> {
    let magic = cursor.up_to_four()?;
    if magic != *b"GGUF" {
        return Err(GgufError::NotGguf { path: path.into(), found: magic });
    }
    match cursor.u32("the version")? {
        version @ (2 | 3) => Ok(version),
        // A small number with its bytes the other way round.
        version if (1..=255).contains(&version.swap_bytes()) => {
            Err(GgufError::BigEndian { path: path.into() })
        }
        version => Err(GgufError::Version { path: path.into(), version }),
    }
}

fn metadata(cursor: &mut Cursor<'_, impl Read>, count: u64, limits: &Limits) -> Result<Metadata> {
    let mut metadata = Metadata::default();
    for index in 0..count {
        let what = format!("key {index}");
        let key = cursor.string(&what, limits.key_bytes)?;
        if key.is_empty() {
            return Err(cursor.at_key(&what, "has no name; fetch the file again"));
        }
        let kind = cursor.u32(&format!("the type of key {key}"))?;
        let value = value(cursor, &key, kind, limits)?;
        if !metadata.insert(key.clone(), value) {
            return Err(cursor.at_key(&key, "is there twice; fetch the file again"));
        }
    }
    Ok(metadata)
}

/// The largest type number of a value that is not an array, and the arrays' own.
const STRING: u32 = 8;
const ARRAY: u32 = 9;

fn value(
    cursor: &mut Cursor<'_, impl Read>,
    key: &str,
    kind: u32,
    limits: &Limits,
) -> Result<Value> {
    Ok(match kind {
        STRING => Value::String(cursor.string(key, limits.string_bytes)?),
        ARRAY => Value::Array(array(cursor, key, 1, limits)?),
        _ => match numbers(cursor, key, kind, 1)? {
            Array::Unsigned(v) => Value::Unsigned(v[0]),
            Array::Signed(v) => Value::Signed(v[0]),
            Array::Float(v) => Value::Float(v[0]),
            Array::Bool(v) => Value::Bool(v[0]),
            Array::String(_) | Array::Array(_) => unreachable!("numbers() makes no others"),
        },
    })
}

fn array(
    cursor: &mut Cursor<'_, impl Read>,
    key: &str,
    depth: u32,
    limits: &Limits,
) -> Result<Array> {
    if depth > limits.nesting {
        return Err(GgufError::Limit {
            path: cursor.path().into(),
            what: format!("the depth of lists in lists of key {key}"),
            value: depth.into(),
            limit: limits.nesting.into(),
        });
    }
    let kind = cursor.u32(&format!("the type of key {key}"))?;
    let len = cursor.u64(&format!("the length of key {key}"))?;
    match kind {
        STRING => {
            cursor.believe(key, len, 8, limits.array_len)?;
            let texts = (0..len).map(|_| cursor.string(key, limits.string_bytes));
            Ok(Array::String(texts.collect::<Result<_>>()?))
        }
        ARRAY => {
            cursor.believe(key, len, 12, limits.array_len)?;
            let lists = (0..len).map(|_| array(cursor, key, depth + 1, limits));
            Ok(Array::Array(lists.collect::<Result<_>>()?))
        }
        _ => {
            cursor.believe(key, len, 1, limits.array_len)?;
            numbers(cursor, key, kind, len as usize)
        }
    }
}

/// `len` numbers of one type; the length has been held against the limits.
fn numbers(cursor: &mut Cursor<'_, impl Read>, key: &str, kind: u32, len: usize) -> Result<Array> {
    let width = match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        10..=12 => 8,
        _ => {
            let problem = format!("has a value of the unknown type {kind}; fetch the file again");
            return Err(cursor.at_key(key, &problem));
        }
    };
    let bytes = cursor.bytes(key, len as u64 * width)?;
    let each = bytes.chunks_exact(width as usize);
    // Little-endian; the sign or the exponent is in the last byte.
    let unsigned = |b: &[u8]| b.iter().rev().fold(0, |n, &byte| (n << 8) | u64::from(byte));
    let spare = 64 - 8 * width as u32;
    Ok(match kind {
        0 | 2 | 4 | 10 => Array::Unsigned(each.map(unsigned).collect()),
        1 | 3 | 5 | 11 => {
            Array::Signed(each.map(|b| (unsigned(b) << spare) as i64 >> spare).collect())
        }
        6 => Array::Float(each.map(|b| f32::from_bits(unsigned(b) as u32).into()).collect()),
        12 => Array::Float(each.map(|b| f64::from_bits(unsigned(b))).collect()),
        _ => {
            if let Some(byte) = bytes.iter().find(|&&byte| byte > 1) {
                let problem =
                    format!("is a truth value and has the byte {byte}; fetch the file again");
                return Err(cursor.at_key(key, &problem));
            }
            Array::Bool(bytes.iter().map(|&byte| byte == 1).collect())
        }
    })
}

fn alignment(metadata: &Metadata, path: &Path, limits: &Limits) -> Result<u64> {
    const KEY: &str = "general.alignment";
    let Some(value) = metadata.get(KEY) else { return Ok(32) };
    match value.as_u64() {
        Some(n) if n > limits.alignment => Err(GgufError::Limit {
            path: path.into(),
            what: format!("key {KEY}"),
            value: n,
            limit: limits.alignment,
        }),
        Some(n) if n > 0 && n % 8 == 0 => Ok(n),
        _ => Err(GgufError::Key {
            path: path.into(),
            key: KEY.to_owned(),
            problem: "must be a multiple of 8; fetch the file again".to_owned(),
        }),
    }
}

/// Reads a row of the table; its place is still counted from where the tensors begin.
fn tensor(cursor: &mut Cursor<'_, impl Read>, index: u64, limits: &Limits) -> Result<TensorInfo> {
    let name = cursor.string(&format!("the name of tensor {index}"), limits.name_bytes)?;
    let wrong = |path: &Path, problem: &str| at_tensor(path, &name, problem);
    let count = cursor.u32(&format!("the shape of tensor {name}"))?;
    if !(1..=4).contains(&count) {
        let problem = format!("has {count} dimensions, 1 to 4 are possible; fetch the file again");
        return Err(wrong(cursor.path(), &problem));
    }
    let mut dims = Vec::with_capacity(count as usize);
    for _ in 0..count {
        dims.push(cursor.u64(&format!("the shape of tensor {name}"))?);
    }
    let type_id = cursor.u32(&format!("the format of tensor {name}"))?;
    let start = cursor.u64(&format!("the place of tensor {name}"))?;
    let values = dims.iter().try_fold(1u64, |all, &dim| all.checked_mul(dim));
    let bytes = match (values, BlockFormat::from_id(type_id)) {
        (Some(1..), Some(format)) => {
            if dims[0] % format.block_len() as u64 != 0 {
                let problem = format!(
                    "has rows of {} values, and {format} stores {} together; fetch the file again",
                    dims[0],
                    format.block_len()
                );
                return Err(wrong(cursor.path(), &problem));
            }
            values.and_then(|values| format.bytes_of(values))
        }
        (Some(1..), None) => Some(0),
        _ => None,
    };
    let Some(bytes) = bytes else {
        let problem = format!("cannot have the shape {dims:?}; fetch the file again");
        return Err(wrong(cursor.path(), &problem));
    };
    Ok(TensorInfo { name, dims, type_id, start, bytes, shard: 0 })
}

/// Makes places count from the file's start; checks that they are aligned, inside the file and
/// apart from each other.
fn place(
    tensors: &mut [TensorInfo],
    header_end: u64,
    length: u64,
    alignment: u64,
    path: &Path,
) -> Result<()> {
    let base = header_end.next_multiple_of(alignment);
    for tensor in tensors.iter_mut() {
        if tensor.start % alignment != 0 {
            let problem = format!(
                "begins at {}, which is no multiple of {alignment}; fetch the file again",
                tensor.start
            );
            return Err(at_tensor(path, &tensor.name, &problem));
        }
        let start = base.checked_add(tensor.start);
        match start.and_then(|start| Some((start, start.checked_add(tensor.bytes)?))) {
            Some((start, end)) if end <= length => tensor.start = start,
            _ => {
                return Err(GgufError::Truncated {
                    path: path.into(),
                    what: format!("the end of tensor {}", tensor.name),
                    at: base.saturating_add(tensor.start),
                    length,
                });
            }
        }
    }
    let mut order: Vec<&TensorInfo> = tensors.iter().collect();
    order.sort_by_key(|tensor| tensor.start);
    for pair in order.windows(2) {
        if pair[0].start + pair[0].bytes > pair[1].start {
            let problem = format!("lies over tensor {}; fetch the file again", pair[0].name);
            return Err(at_tensor(path, &pair[1].name, &problem));
        }
    }
    Ok(())
}

fn at_tensor(path: &Path, tensor: &str, problem: &str) -> GgufError {
    let path = PathBuf::from(path);
    GgufError::Tensor { path, tensor: tensor.to_owned(), problem: problem.to_owned() }
}
