//! `cargo fuzz run header`: any bytes are read or refused.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use spring_gguf::{Header, Kind, Limits};

fuzz_target!(|bytes: &[u8]| {
    let path = Path::new("fuzz.gguf");
    if let Ok(header) = Header::read(bytes, bytes.len() as u64, path, &Limits::default()) {
        let _ = Kind::of(&header.metadata);
        for tensor in &header.tensors {
            assert!(tensor.start + tensor.bytes <= bytes.len() as u64);
        }
    }
});
