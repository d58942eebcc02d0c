//! `cargo fuzz run whole_file`: a file of any bytes is opened and read to its end, or refused.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/support/whole_file.rs"]
mod whole_file;

/// The file of this process.
static PLACE: LazyLock<PathBuf> = LazyLock::new(|| {
    std::env::temp_dir().join(format!("spring-gguf-fuzz-{}.gguf", std::process::id()))
});

fuzz_target!(|bytes: &[u8]| {
    std::fs::write(&*PLACE, bytes).expect("the folder of temporary files takes files");
    whole_file::read_all(&PLACE);
});
