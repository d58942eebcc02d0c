//! Writes small GGUF files for the tests.
#![allow(dead_code)] // each test file uses its part

use std::path::PathBuf;

/// A real model's file. Where the variable SPRING_MODELS names the folder with such files, it has
/// to be there; otherwise it may be where models are kept.
pub fn real_file(name: &str) -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("SPRING_MODELS") {
        let path = PathBuf::from(folder).join(name);
        assert!(path.is_file(), "SPRING_MODELS is set and {} is not there", path.display());
        return Some(path);
    }
    let path = std::env::home_dir()?.join(".cache/spring-models").join(name);
    if path.is_file() {
        return Some(path);
    }
    eprintln!("skipped: {} is not there (.ci/models fetches it)", path.display());
    None
}

/// A GGUF file in the making.
#[derive(Clone)]
pub struct Writer {
    pub version: u32,
    keys: Vec<Vec<u8>>,
    tensors: Vec<(String, Vec<u64>, u32, Vec<u8>)>,
    pub alignment: u64,
}

pub fn text(s: &str) -> Vec<u8> {
    let mut out = (s.len() as u64).to_le_bytes().to_vec();
    out.extend(s.as_bytes());
    out
}

impl Writer {
    pub fn new() -> Self {
        Writer { version: 3, keys: Vec::new(), tensors: Vec::new(), alignment: 32 }
    }

    pub fn raw(mut self, key: &str, kind: u32, value: &[u8]) -> Self {
        let mut entry = text(key);
        entry.extend(kind.to_le_bytes());
        entry.extend(value);
        self.keys.push(entry);
        self
    }

    pub fn string(self, key: &str, value: &str) -> Self {
        self.raw(key, 8, &text(value))
    }

    pub fn u32(self, key: &str, value: u32) -> Self {
        self.raw(key, 4, &value.to_le_bytes())
    }

    pub fn u16(self, key: &str, value: u16) -> Self {
        self.raw(key, 2, &value.to_le_bytes())
    }

    pub fn f32(self, key: &str, value: f32) -> Self {
        self.raw(key, 6, &value.to_le_bytes())
    }

    pub fn bool(self, key: &str, value: bool) -> Self {
        self.raw(key, 7, &[value.into()])
    }

    pub fn strings(self, key: &str, values: &[&str]) -> Self {
        let items: Vec<u8> = values.iter().flat_map(|value| text(value)).collect();
        self.array(key, 8, values.len(), &items)
    }

    pub fn i32s(self, key: &str, values: &[i32]) -> Self {
        let items: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.array(key, 5, values.len(), &items)
    }

    pub fn f32s(self, key: &str, values: &[f32]) -> Self {
        let items: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.array(key, 6, values.len(), &items)
    }

    pub fn bools(self, key: &str, values: &[bool]) -> Self {
        let items: Vec<u8> = values.iter().map(|&value| value.into()).collect();
        self.array(key, 7, values.len(), &items)
    }

    fn array(self, key: &str, kind: u32, len: usize, items: &[u8]) -> Self {
        let mut value = kind.to_le_bytes().to_vec();
        value.extend((len as u64).to_le_bytes());
        value.extend(items);
        self.raw(key, 9, &value)
    }

    pub fn tensor(mut self, name: &str, dims: &[u64], type_id: u32, bytes: &[u8]) -> Self {
        self.tensors.push((name.to_owned(), dims.to_vec(), type_id, bytes.to_vec()));
        self
    }

    pub fn finish(self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.keys.len() as u64).to_le_bytes());
        self.keys.iter().for_each(|key| out.extend(key));
        let mut place = 0u64;
        for (name, dims, type_id, bytes) in &self.tensors {
            out.extend(text(name));
            out.extend((dims.len() as u32).to_le_bytes());
            dims.iter().for_each(|dim| out.extend(dim.to_le_bytes()));
            out.extend(type_id.to_le_bytes());
            out.extend(place.to_le_bytes());
            place = (place + bytes.len() as u64).next_multiple_of(self.alignment);
        }
        for (_, _, _, bytes) in &self.tensors {
            out.resize(out.len().next_multiple_of(self.alignment as usize), 0);
            out.extend(bytes);
        }
        out
    }
}
