//! Writing small GGUF files, version 3.

use std::io::{self, Write};

/// Bytes between whose multiples tensors begin: what readers take where a file does not say.
const ALIGNMENT: usize = 32;

/// A file in the making: keys and tensors in the order in which they were added.
#[derive(Default)]
pub(crate) struct Writer {
    keys: Vec<u8>,
    key_count: u64,
    table: Vec<u8>,
    tensor_count: u64,
    data: Vec<u8>,
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

impl Writer {
    fn key(&mut self, key: &str, kind: u32) -> &mut Vec<u8> {
        self.key_count += 1;
        put_text(&mut self.keys, key);
        self.keys.extend(kind.to_le_bytes());
        &mut self.keys
    }

    pub(crate) fn text(&mut self, key: &str, value: &str) {
        put_text(self.key(key, 8), value);
    }

    pub(crate) fn u32(&mut self, key: &str, value: u32) {
        self.key(key, 4).extend(value.to_le_bytes());
    }

    pub(crate) fn f32(&mut self, key: &str, value: f32) {
        self.key(key, 6).extend(value.to_le_bytes());
    }

    /// Adds a tensor; dimensions are innermost first, and `bytes` are as its format stores them.
    pub(crate) fn tensor(&mut self, name: &str, dims: &[u64], type_id: u32, bytes: &[u8]) {
        self.tensor_count += 1;
        self.data.resize(self.data.len().next_multiple_of(ALIGNMENT), 0);
        put_text(&mut self.table, name);
        self.table.extend((dims.len() as u32).to_le_bytes());
        dims.iter().for_each(|dim| self.table.extend(dim.to_le_bytes()));
        self.table.extend(type_id.to_le_bytes());
        self.table.extend((self.data.len() as u64).to_le_bytes());
        self.data.extend(bytes);
    }

    pub(crate) fn write(self, mut to: impl Write) -> io::Result<()> {
        let mut head = b"GGUF".to_vec();
        head.extend(3u32.to_le_bytes());
        head.extend(self.tensor_count.to_le_bytes());
        head.extend(self.key_count.to_le_bytes());
        head.extend(self.keys);
        head.extend(self.table);
        head.resize(head.len().next_multiple_of(ALIGNMENT), 0);
        to.write_all(&head)?;
        to.write_all(&self.data)?;
        // Some readers want the last tensor filled up too.
        let rest = self.data.len().next_multiple_of(ALIGNMENT) - self.data.len();
        to.write_all(&[0; ALIGNMENT][..rest])
    }
}
