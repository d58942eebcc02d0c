//! All that can be read of a file, whatever it holds: for the fuzz target `whole_file` and for the
//! loop of `tests/mutations.rs`.

use std::path::Path;

use spring_gguf::{Architecture, GgufFile, LoraBase, Result};

/// The base that adapters are read for.
pub fn base(architecture: Architecture) -> LoraBase {
    LoraBase {
        architecture,
        layers: 2,
        hidden: 8,
        feed_forward: 16,
        heads: 2,
        kv_heads: 1,
        key_length: 4,
        value_length: 4,
    }
}

/// What a result has, where it has anything; an error is one line.
fn read<T>(result: Result<T>) -> Option<T> {
    result.map_err(|error| assert!(!error.to_string().contains('\n'), "{error}")).ok()
}

/// Reads keys, vocabulary, tokenizer, adapter and every tensor of a file, as far as it gives them.
/// Says whether it could be opened.
pub fn read_all(path: &Path) -> bool {
    let Some(file) = read(GgufFile::open(path)) else { return false };
    let _ = (file.kind().to_string(), file.chat_template(None), read(file.language_model()));
    if let Some(keys) = read(file.model_keys()) {
        read(file.check_model(&keys));
        read(file.lora(&LoraBase::from(&keys)));
    }
    for architecture in Architecture::ALL {
        let base = base(architecture);
        let Some(lora) = read(file.lora(&base)) else { continue };
        for (&(layer, target), factors) in &lora.factors {
            let (inputs, outputs) = base.shape(target);
            assert!(layer < base.layers);
            assert_eq!(factors.a.len(), factors.rank * inputs);
            assert_eq!(factors.b.len(), factors.rank * outputs);
        }
    }
    if let Some(vocabulary) = read(file.vocabulary()) {
        let count = vocabulary.tokens.len();
        assert!(vocabulary.ends().iter().all(|&id| (id as usize) < count));
        if let Some(tokenizer) = read(file.tokenizer())
            && let Ok(ids) = tokenizer.encode("ab  <s>é\n12</s> ab", true)
        {
            assert!(ids.get_ids().iter().all(|&id| (id as usize) < count));
            let _ = tokenizer.decode(ids.get_ids(), false);
        }
    }
    for tensor in file.tensors() {
        let values: u64 = tensor.dims.iter().product();
        if let Some(read) = read(file.values(&tensor.name)) {
            assert_eq!(read.len() as u64, values);
        }
        if let Some(matrix) = read(file.matrix(&tensor.name)) {
            assert_eq!((matrix.rows() * matrix.columns()) as u64, values);
        }
    }
    true
}
