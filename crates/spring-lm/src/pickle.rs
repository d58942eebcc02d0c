//! `adapter_model.bin`: tensors that torch saved, read without running what a pickle may ask for.
//!
//! A pickle is a program for a small machine. The part of it is read that `torch.save` writes for a
//! dictionary of tensors; whatever else it names or asks for is refused. The crates that read
//! pickles (candle's, repugnant-pickle) bring a tensor library, or read more than that.

use std::{
    collections::{BTreeMap, HashMap},
    io::{BufReader, Read, Seek},
    path::Path,
    rc::Rc,
};

use safetensors::{Dtype, tensor::TensorView};
use spring_numerics::words::of_system;
use zip::{CompressionMethod, ZipArchive};

use crate::json::{GIT_LFS, GIT_LFS_ADVICE};

/// Steps, entries of the archive, and what stands in the pickle, at most: an adapter has some
/// thousand tensors.
const MOST_STEPS: usize = 1 << 20;
const MOST_ENTRIES: usize = 1 << 16;
const LONGEST: u64 = 64 << 20;
/// The largest file, in bytes.
const LARGEST: u64 = 2 << 30;
/// How deep tuples are nested in what torch writes, and then some.
const DEEPEST: usize = 8;

type Result<T> = std::result::Result<T, String>;

/// The same tensors as a safetensors file.
///
/// # Errors
///
/// Says what the file holds that is no tensor.
pub(crate) fn to_safetensors(path: &Path) -> Result<Vec<u8>> {
    let mut file = spring_numerics::file::open(path).map_err(|e| of_system(&e))?;
    let length = file.metadata().map_err(|e| of_system(&e))?.len();
    if length > LARGEST {
        return Err(format!("{length} bytes are more than the {LARGEST} that an adapter may have"));
    }
    let mut begin = Vec::new();
    (&mut file)
        .take(GIT_LFS.len() as u64)
        .read_to_end(&mut begin)
        .and_then(|_| file.rewind())
        .map_err(|e| of_system(&e))?;
    if begin == GIT_LFS {
        return Err(GIT_LFS_ADVICE.into());
    }
    let mut archive = ZipArchive::new(BufReader::new(file))
        .map_err(|e| format!("no archive of tensors as torch writes it since version 1.6 ({e})"))?;
    if archive.len() > MOST_ENTRIES {
        return Err(format!("{} entries are more than {MOST_ENTRIES}", archive.len()));
    }
    let names: Vec<String> =
        archive.file_names().filter_map(|name| Some(name.ok()?.into_owned())).collect();
    let pickle = names.into_iter().find(|name| name.ends_with("/data.pkl"));
    let pickle = pickle.ok_or("no archive of tensors: it has no data.pkl")?;
    let folder = pickle.strip_suffix("data.pkl").unwrap_or_default().to_owned();
    let order = format!("{folder}byteorder");
    if archive.index_for_name(&order).is_some() && read(&mut archive, &order)? != b"little" {
        return Err("its numbers are big-endian".into());
    }
    let tensors = tensors(&read(&mut archive, &pickle)?)?;
    let mut contents = BTreeMap::new();
    // Tensors may share a storage, but not so many that reading them never ends.
    let mut left = 4 * length;
    for (name, tensor) in tensors {
        let bytes = read(&mut archive, &format!("{folder}data/{}", tensor.storage.key))?;
        let numbers = tensor.numbers(&bytes).map_err(|e| format!("{name}: {e}"))?;
        left = left
            .checked_sub((bytes.len().max(numbers.len())) as u64)
            .ok_or("its tensors are many times larger than the file")?;
        contents.insert(name, (tensor.storage.dtype, tensor.shape.clone(), numbers));
    }
    let views = contents.iter().map(|(name, (dtype, shape, bytes))| {
        let view = TensorView::new(*dtype, shape.clone(), bytes);
        view.map(|view| (name.as_str(), view)).map_err(|e| format!("{name}: {e}"))
    });
    let views = views.collect::<Result<Vec<_>>>()?;
    safetensors::serialize(views, None).map_err(|e| e.to_string())
}

/// An entry of the archive, which torch does not compress.
fn read(archive: &mut ZipArchive<impl Read + Seek>, name: &str) -> Result<Vec<u8>> {
    let fail = |e: &dyn std::fmt::Display| format!("{name}: {e}");
    let entry = archive.by_name(name).map_err(|e| fail(&e))?;
    if entry.compression() != CompressionMethod::Stored {
        return Err(fail(&"compressed, which torch does not do"));
    }
    let size = entry.size();
    let limit = if name.ends_with("data.pkl") { LONGEST } else { LARGEST };
    if size > limit {
        return Err(fail(&format!("{size} bytes are more than {limit}")));
    }
    let mut bytes = Vec::new();
    entry.take(size).read_to_end(&mut bytes).map_err(|e| fail(&e))?;
    Ok(bytes)
}

/// Where numbers are in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Storage {
    dtype: Dtype,
    key: String,
}

/// A view of a storage, in numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Tensor {
    storage: Storage,
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

impl Tensor {
    /// The bytes of its numbers, row by row.
    fn numbers(&self, storage: &[u8]) -> Result<Vec<u8>> {
        let size = if self.storage.dtype == Dtype::F32 { 4 } else { 2 };
        let count = self.shape.iter().try_fold(1usize, |count, side| count.checked_mul(*side));
        let fits =
            |count: &usize| count.checked_mul(size).is_some_and(|bytes| bytes as u64 <= LARGEST);
        let count = count.filter(fits).ok_or("too large a shape")?;
        let mut bytes = Vec::with_capacity((count * size).min(storage.len()));
        let mut place = vec![0; self.shape.len()];
        for _ in 0..count {
            let mut steps = place.iter().zip(&self.strides);
            let at = steps.try_fold(self.offset, |at, (i, stride): (&usize, &usize)| {
                at.checked_add(i.checked_mul(*stride)?)
            });
            let begin = at.and_then(|at| at.checked_mul(size));
            let range = begin.and_then(|begin| Some(begin..begin.checked_add(size)?));
            let number = range.and_then(|range| storage.get(range));
            bytes.extend_from_slice(number.ok_or("it reaches beyond its numbers")?);
            for (i, side) in place.iter_mut().zip(&self.shape).rev() {
                *i += 1;
                if *i < *side {
                    break;
                }
                *i = 0;
            }
        }
        Ok(bytes)
    }
}

/// What the machine's stack holds.
#[derive(Debug, Clone)]
enum Value {
    None,
    Bool,
    Number(i64),
    Text(Rc<str>),
    /// With how deep it is nested.
    Tuple(Rc<[Value]>, usize),
    Global(Global),
    Storage(Rc<Storage>),
    Tensor(Rc<Tensor>),
    /// A dictionary, by its place in the list of all.
    Dict(usize),
}

/// What a pickle may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Global {
    Dict,
    Tensor,
    Parameter,
    Storage(Dtype),
}

impl Global {
    fn of(module: &str, name: &str) -> Result<Self> {
        Ok(match (module, name) {
            ("collections", "OrderedDict") => Self::Dict,
            ("torch._utils", "_rebuild_tensor_v2") => Self::Tensor,
            ("torch._utils", "_rebuild_parameter") => Self::Parameter,
            ("torch", "FloatStorage") => Self::Storage(Dtype::F32),
            ("torch", "HalfStorage") => Self::Storage(Dtype::F16),
            ("torch", "BFloat16Storage") => Self::Storage(Dtype::BF16),
            _ => {
                let found = format!("{module}.{name}");
                return Err(format!(
                    "it names {:?}, which is no part of saved factors: a program may be in it, or \
                     numbers of another type than float32, float16 and bfloat16",
                    found.chars().take(100).collect::<String>()
                ));
            }
        })
    }
}

/// The tensors of the dictionary that a pickle makes, by their names.
fn tensors(pickle: &[u8]) -> Result<Vec<(String, Tensor)>> {
    let mut machine = Machine { rest: pickle, ..Machine::default() };
    for _ in 0..MOST_STEPS {
        if let Some(value) = machine.step()? {
            let Value::Dict(dict) = value else { return Err("it is no dictionary".into()) };
            let entries = std::mem::take(&mut machine.dicts[dict]).into_iter();
            let named = entries.map(|(name, value)| match (name, value) {
                (Value::Text(name), Value::Tensor(tensor)) => {
                    Ok((name.to_string(), Tensor::clone(&tensor)))
                }
                (Value::Text(name), _) => Err(format!("{name:?} is no tensor")),
                _ => Err("a name in it is no text".into()),
            });
            return named.collect();
        }
    }
    Err(format!("it takes more than {MOST_STEPS} steps"))
}

#[derive(Debug, Default)]
struct Machine<'p> {
    rest: &'p [u8],
    stack: Vec<Value>,
    /// Where the parts of what is being put together begin.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    dicts: Vec<Vec<(Value, Value)>>,
}

impl<'p> Machine<'p> {
    fn bytes(&mut self, count: usize) -> Result<&'p [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(count).ok_or("it is cut short")?;
        self.rest = rest;
        Ok(bytes)
    }

    fn number<const N: usize>(&mut self) -> Result<u32> {
        let mut wide = [0; 4];
        wide[..N].copy_from_slice(self.bytes(N)?);
        Ok(u32::from_le_bytes(wide))
    }

    fn line(&mut self) -> Result<&'p str> {
        let end = self.rest.iter().position(|byte| *byte == b'\n').ok_or("it is cut short")?;
        let line = self.bytes(end + 1)?;
        std::str::from_utf8(&line[..end]).map_err(|_| "a name is not UTF-8".into())
    }

    fn text(&mut self, length: u32) -> Result<()> {
        let bytes = self.bytes(length as usize)?;
        let text = std::str::from_utf8(bytes).map_err(|_| "a text is not UTF-8")?;
        self.stack.push(Value::Text(text.into()));
        Ok(())
    }

    fn pop(&mut self) -> Result<Value> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let value = if self.stack.len() > floor { self.stack.pop() } else { None };
        value.ok_or_else(|| "it takes what is not there".into())
    }

    fn since_mark(&mut self) -> Result<Vec<Value>> {
        let mark = self.marks.pop().ok_or("it takes what is not there")?;
        Ok(self.stack.split_off(mark))
    }

    fn push_tuple(&mut self, parts: Vec<Value>) -> Result<()> {
        let depth = |part: &Value| if let Value::Tuple(_, depth) = part { *depth } else { 0 };
        let depth = 1 + parts.iter().map(depth).max().unwrap_or(0);
        if depth > DEEPEST {
            return Err("it is nested too deep".into());
        }
        self.stack.push(Value::Tuple(parts.into(), depth));
        Ok(())
    }

    fn push_dict(&mut self) {
        self.stack.push(Value::Dict(self.dicts.len()));
        self.dicts.push(Vec::new());
    }

    fn put(&mut self, place: u32) -> Result<()> {
        let value = self.stack.last().cloned().ok_or("it keeps what is not there")?;
        self.memo.insert(place, value);
        Ok(())
    }

    fn get(&mut self, place: u32) -> Result<()> {
        let value = self.memo.get(&place).cloned().ok_or("it takes what is not there")?;
        self.stack.push(value);
        Ok(())
    }

    fn fill(&mut self, parts: Vec<Value>) -> Result<()> {
        let Some(Value::Dict(dict)) = self.stack.last() else {
            return Err("it fills what is no dictionary".into());
        };
        let mut parts = parts.into_iter();
        while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
            self.dicts[*dict].push((name, value));
        }
        Ok(())
    }

    /// Takes one step; the result at the end.
    fn step(&mut self) -> Result<Option<Value>> {
        let code = self.bytes(1)?[0];
        match code {
            // PROTO
            0x80 => match self.bytes(1)?[0] {
                2..=4 => {}
                other => return Err(format!("its protocol is {other}; 2 to 4 are read")),
            },
            // FRAME
            0x95 => drop(self.bytes(8)?),
            b'.' => return self.pop().map(Some),
            b'(' => self.marks.push(self.stack.len()),
            b'}' => self.push_dict(),
            b')' => self.push_tuple(Vec::new())?,
            b't' => {
                let parts = self.since_mark()?;
                self.push_tuple(parts)?;
            }
            // TUPLE1 to TUPLE3
            0x85..=0x87 => {
                let mut parts = (0..code - 0x84).map(|_| self.pop()).collect::<Result<Vec<_>>>()?;
                parts.reverse();
                self.push_tuple(parts)?;
            }
            b'N' => self.stack.push(Value::None),
            // NEWTRUE and NEWFALSE
            0x88 | 0x89 => self.stack.push(Value::Bool),
            // BININT, BININT1, BININT2
            b'J' => {
                let number = self.number::<4>()? as i32;
                self.stack.push(Value::Number(number.into()));
            }
            b'K' => {
                let number = self.number::<1>()?;
                self.stack.push(Value::Number(number.into()));
            }
            b'M' => {
                let number = self.number::<2>()?;
                self.stack.push(Value::Number(number.into()));
            }
            // LONG1
            0x8a => {
                let length = self.bytes(1)?[0];
                let bytes = self.bytes(length.into())?;
                let mut wide = [0; 8];
                let (true, Some(place)) = (length < 8, wide.get_mut(..bytes.len())) else {
                    return Err("a number is too large".into());
                };
                place.copy_from_slice(bytes);
                self.stack.push(Value::Number(i64::from_le_bytes(wide)));
            }
            // BINUNICODE, SHORT_BINUNICODE
            b'X' => {
                let length = self.number::<4>()?;
                self.text(length)?;
            }
            0x8c => {
                let length = self.number::<1>()?;
                self.text(length)?;
            }
            // GLOBAL, STACK_GLOBAL
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.stack.push(Value::Global(Global::of(module, name)?));
            }
            0x93 => {
                let (Value::Text(name), Value::Text(module)) = (self.pop()?, self.pop()?) else {
                    return Err("it names something by what is no text".into());
                };
                self.stack.push(Value::Global(Global::of(&module, &name)?));
            }
            // BINPUT, LONG_BINPUT, MEMOIZE
            b'q' => {
                let place = self.number::<1>()?;
                self.put(place)?;
            }
            b'r' => {
                let place = self.number::<4>()?;
                self.put(place)?;
            }
            0x94 => self.put(self.memo.len() as u32)?,
            // BINGET, LONG_BINGET
            b'h' => {
                let place = self.number::<1>()?;
                self.get(place)?;
            }
            b'j' => {
                let place = self.number::<4>()?;
                self.get(place)?;
            }
            // SETITEM, SETITEMS
            b's' => {
                let (value, name) = (self.pop()?, self.pop()?);
                self.fill(vec![name, value])?;
            }
            b'u' => {
                let parts = self.since_mark()?;
                self.fill(parts)?;
            }
            // BUILD: what a module notes beside its tensors is left out.
            b'b' => {
                let (state, kept) = (self.pop()?, self.stack.last());
                if !matches!((state, kept), (Value::Dict(_), Some(Value::Dict(_)))) {
                    return Err("it changes what is no dictionary".into());
                }
            }
            // BINPERSID
            b'Q' => {
                let Value::Tuple(parts, _) = self.pop()? else {
                    return Err("a storage is told otherwise than torch does".into());
                };
                let [
                    Value::Text(kind),
                    Value::Global(Global::Storage(dtype)),
                    Value::Text(key),
                    ..,
                ] = &*parts
                else {
                    return Err("a storage is told otherwise than torch does".into());
                };
                let is_plain = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_digit());
                if &**kind != "storage" || !is_plain {
                    return Err("a storage is told otherwise than torch does".into());
                }
                let storage = Storage { dtype: *dtype, key: key.to_string() };
                self.stack.push(Value::Storage(storage.into()));
            }
            b'R' => self.reduce()?,
            other => {
                return Err(format!(
                    "it has the step 0x{other:02x}, which saved factors do not need: a program may \
                     be in it"
                ));
            }
        }
        Ok(None)
    }

    /// Makes what the pickle calls for: an empty dictionary or a tensor.
    fn reduce(&mut self) -> Result<()> {
        let (Value::Tuple(parts, _), Value::Global(global)) = (self.pop()?, self.pop()?) else {
            return Err("it calls what is no part of saved factors".into());
        };
        let numbers = |value: &Value| match value {
            Value::Tuple(parts, _) => parts
                .iter()
                .map(|part| match part {
                    Value::Number(number) => usize::try_from(*number).ok(),
                    _ => None,
                })
                .collect::<Option<Vec<usize>>>(),
            _ => None,
        };
        match (global, &*parts) {
            (Global::Dict, []) => self.push_dict(),
            (Global::Parameter, [tensor @ Value::Tensor(_), ..]) => {
                self.stack.push(tensor.clone());
            }
            (
                Global::Tensor,
                [Value::Storage(storage), Value::Number(offset), shape, strides, ..],
            ) => {
                let offset = usize::try_from(*offset).ok();
                let (Some(offset), Some(shape), Some(strides)) =
                    (offset, numbers(shape), numbers(strides))
                else {
                    return Err("a tensor's shape is none".into());
                };
                if shape.len() != strides.len() || shape.len() > DEEPEST {
                    return Err("a tensor's shape is none".into());
                }
                let storage = Storage::clone(storage);
                self.stack.push(Value::Tensor(Tensor { storage, offset, shape, strides }.into()));
            }
            _ => return Err("it calls for what is no part of saved factors".into()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// What `torch.save({"a": torch.tensor([[0., 1., 2.], [3., 4., 5.]]).T}, ...)` writes as
    /// pickle.
    fn pickle(global: &str) -> Vec<u8> {
        let mut bytes =
            b"\x80\x02}q\x00X\x01\x00\x00\x00aq\x01ctorch._utils\n_rebuild_tensor_v2\nq\x02((X\
            \x07\x00\x00\x00storageq\x03c"
                .to_vec();
        bytes.extend_from_slice(global.as_bytes());
        bytes.extend_from_slice(
            b"\nq\x04X\x01\x00\x00\x000q\x05X\x03\x00\x00\x00cpuq\x06K\x06tq\x07QK\x00K\x03\
              K\x02\x86q\x08K\x01K\x03\x86q\x09\x89ccollections\nOrderedDict\nq\x0a)Rq\x0btq\x0cR\
              q\x0ds.",
        );
        bytes
    }

    fn archive(pickle: &[u8], storage: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut zip = zip::ZipWriter::new(&mut file);
        let stored =
            zip::write::SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        for (name, bytes) in
            [("x/data.pkl", pickle), ("x/byteorder", b"little"), ("x/data/0", storage)]
        {
            zip.start_file(name, stored).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap();
        file
    }

    fn numbers() -> Vec<u8> {
        (0..6).flat_map(|i| (i as f32).to_le_bytes()).collect()
    }

    #[test]
    fn a_dictionary_of_tensors_is_read() {
        let file = archive(&pickle("torch\nFloatStorage"), &numbers());
        let bytes = to_safetensors(file.path()).unwrap();
        let weights = crate::Weights::from_bytes(&bytes, "f".into()).unwrap();
        assert_eq!(weights.matrix("a").unwrap(), ndarray::array![[0., 3.], [1., 4.], [2., 5.]]);
    }

    #[test]
    fn whatever_else_is_in_it_is_refused() {
        let good = pickle("torch\nFloatStorage");
        for (bytes, storage, said) in [
            (pickle("os\nsystem"), numbers(), "\"os.system\""),
            (pickle("builtins\neval"), numbers(), "a program may be in it"),
            (pickle("torch\nLongStorage"), numbers(), "torch.LongStorage"),
            (good.clone(), numbers()[..20].to_vec(), "beyond its numbers"),
            (good[..good.len() - 1].to_vec(), numbers(), "cut short"),
            (b"\x80\x02N.".to_vec(), numbers(), "no dictionary"),
            (b"\x80\x02(".repeat(600_000), numbers(), "steps"),
            ([b"\x80\x02)".to_vec(), b"\x85".repeat(100_000)].concat(), numbers(), "too deep"),
            (b"\x80\x02\x81.".to_vec(), numbers(), "0x81"),
        ] {
            let error = to_safetensors(archive(&bytes, &storage).path()).unwrap_err();
            assert!(error.contains(said), "{said}: {error}");
        }
        // Damage anywhere is an error or another tensor, never a panic.
        for at in 0..good.len() {
            for byte in [0, 1, b'R', b'(', b't', 0xff] {
                let mut bytes = good.clone();
                bytes[at] = byte;
                let _ = to_safetensors(archive(&bytes, &numbers()).path());
            }
        }
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&good).unwrap();
        assert!(to_safetensors(file.path()).unwrap_err().contains("since version 1.6"));
    }
}
