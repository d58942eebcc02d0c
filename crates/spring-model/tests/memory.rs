//! Peak memory of loading and of training, alone in its process.

#![cfg(all(feature = "cpu", target_os = "linux"))]
#![allow(clippy::unwrap_used)]

mod gguf_files;

use std::{
    io::Write,
    ops::ControlFlow,
    path::Path,
    sync::{Arc, Mutex},
};

use burn::backend::Flex;
use spring_model::{
    CausalLm, LoraConfig, ModelFiles, Precision, Sequence, Session, TrainConfig, TrainRequest,
};

const VOCABULARY: usize = 40_000;
const WIDTH: usize = 512;

/// A model whose embedding is most of it, in half precision.
fn write_model(dir: &Path) -> usize {
    let config = serde_json::json!({
        "model_type": "llama", "vocab_size": VOCABULARY, "hidden_size": WIDTH,
        "intermediate_size": 64,
        "num_hidden_layers": 1, "num_attention_heads": 4, "tie_word_embeddings": true
    });
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
    let mut tensors = vec![
        ("model.embed_tokens.weight".to_owned(), vec![VOCABULARY, WIDTH]),
        ("model.norm.weight".to_owned(), vec![WIDTH]),
    ];
    for norm in ["input_layernorm", "post_attention_layernorm"] {
        tensors.push((format!("model.layers.0.{norm}.weight"), vec![WIDTH]));
    }
    for (name, d_out, d_in) in [
        ("self_attn.q_proj", WIDTH, WIDTH),
        ("self_attn.k_proj", WIDTH, WIDTH),
        ("self_attn.v_proj", WIDTH, WIDTH),
        ("self_attn.o_proj", WIDTH, WIDTH),
        ("mlp.gate_proj", 64, WIDTH),
        ("mlp.up_proj", 64, WIDTH),
        ("mlp.down_proj", WIDTH, 64),
    ] {
        tensors.push((format!("model.layers.0.{name}.weight"), vec![d_out, d_in]));
    }
    let (mut header, mut at) = (serde_json::Map::new(), 0);
    for (name, shape) in tensors {
        let end = at + 2 * shape.iter().product::<usize>();
        header.insert(
            name,
            serde_json::json!({"dtype": "F16", "shape": shape, "data_offsets": [at, end]}),
        );
        at = end;
    }
    let header = serde_json::Value::Object(header).to_string();
    let mut file = std::fs::File::create(dir.join("model.safetensors")).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    let block: Vec<u8> = (0..1u32 << 16).map(|i| if i % 2 == 0 { i as u8 } else { 0x24 }).collect();
    for start in (0..at).step_by(block.len()) {
        file.write_all(&block[..block.len().min(at - start)]).unwrap();
    }
    at / 2
}

/// A line of /proc/self/status in bytes.
fn status(name: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_matches([':', '\t', ' ', 'k', 'B']).parse::<usize>().unwrap() * 1024
}

/// Held by the test that measures.
static ALONE: Mutex<()> = Mutex::new(());

/// How far the peak rises above what is in use when `work` begins.
fn peak<T>(work: impl FnOnce() -> T) -> (T, usize) {
    // 5 sets the peak back to what is in use (proc(5)).
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = status("VmRSS");
    let result = work();
    (result, status("VmHWM").saturating_sub(before))
}

#[test]
fn a_quantised_model_takes_no_more_than_its_file() {
    const PLACE: &str = "SPRING_TEST_WRITE_MODEL";
    let shape = gguf_files::Shape {
        layers: 2,
        width: 1024,
        inner: 4096,
        heads: 8,
        kv_heads: 8,
        head: 128,
        ..gguf_files::SMALL
    };
    if let Ok(place) = std::env::var(PLACE) {
        std::fs::write(place, gguf_files::parts("llama", shape, 1, None).bytes()).unwrap();
        return;
    }
    let _alone = ALONE.lock().unwrap();
    // Written by another process: memory that was freed here would be taken again, and not count.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    let written = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_quantised_model_takes_no_more_than_its_file"])
        .env(PLACE, &path)
        .output()
        .unwrap();
    assert!(written.status.success());
    let size = std::fs::metadata(&path).unwrap().len() as usize;
    let files = ModelFiles::open(&path).unwrap();
    let (model, grown) = peak(|| CausalLm::<Flex>::load(&files, Default::default()).unwrap());
    assert!(grown > size / 2, "nothing was loaded: {grown} of {size}");
    assert!(grown as f64 <= 1.25 * size as f64, "loading {size} bytes took {grown}");
    let model = Arc::new(model);
    let (_, grown) = peak(|| {
        let mut session = model.session();
        let row = session.join(&[5, 6, 7], None, 8).unwrap();
        (0..4).for_each(|token| session.step(&[(row, 10 + token)]).unwrap());
    });
    assert!(grown < size / 10, "decoding with {size} bytes of weights took {grown}");
}

#[test]
fn loading_needs_the_weights_and_training_no_second_copy() {
    let _alone = ALONE.lock().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let numbers = write_model(dir.path());
    let files = ModelFiles::from_dir(dir.path()).unwrap();
    for precision in [Precision::F16, Precision::Bf16] {
        let weights = 2 * numbers;
        let (model, grown) =
            peak(|| CausalLm::<Flex>::load_as(&files, precision, Default::default()).unwrap());
        assert!(grown > weights / 2, "nothing was loaded as {precision}: {grown} of {weights}");
        assert!(
            grown as f64 <= 1.3 * weights as f64,
            "loading {weights} bytes as {precision} took {grown}"
        );
        drop(model);
    }

    let weights = 4 * numbers;
    let (model, grown) = peak(|| CausalLm::<Flex>::load(&files, Default::default()).unwrap());
    assert!(grown > weights / 2, "nothing was loaded: {grown} of {weights}");
    assert!(grown as f64 <= 1.3 * weights as f64, "loading {weights} bytes took {grown}");

    let examples = [Sequence { context: vec![1], response: (5..15).collect() }];
    let config = TrainConfig::default().with_epochs(2);
    let (outcome, grown) = peak(|| {
        model
            .train(TrainRequest::new(&LoraConfig::default(), &examples, &config, 0), |_| {
                ControlFlow::Continue(())
            })
            .unwrap()
    });
    assert_eq!(outcome.steps, 2);
    assert!(grown < weights / 2, "training on a base of {weights} bytes took {grown}");
}
