//! Models in GGUF files against folders with the same numbers.

#![cfg(feature = "cpu")]
#![allow(clippy::unwrap_used)]

mod gguf_files;

use std::{ops::ControlFlow, path::Path};

use gguf_files::{FAMILIES, Parts, SMALL, Tensor, parts, twins};
use spring_model::{
    Adapter, AnyModel, Arithmetic, Device, LoadOptions, LoraConfig, Message, ModelConfig,
    ModelFiles, Projection, Role, Score, Sequence, Tokenize, Train, TrainConfig, TrainRequest,
    Workers,
};

fn load(path: &Path, arithmetic: Arithmetic) -> AnyModel {
    let options = LoadOptions::default().with_arithmetic(arithmetic);
    AnyModel::load_with(&ModelFiles::open(path).unwrap(), &options).unwrap()
}

fn rows() -> Vec<Vec<u32>> {
    (0..3).map(|row| (0..40).map(|i| 3 + (row * 71 + i * 37) % 310).collect()).collect()
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// An adapter of all projections for any base of the shape, with both factors other than zero.
fn adapter(config: &ModelConfig) -> Adapter {
    let lora = LoraConfig::default().with_rank(4).with_targets(Projection::ALL.to_vec());
    let mut adapter = Adapter::init(&lora, config, "", 3).unwrap();
    for (_, _, pair) in adapter.pairs_mut() {
        for (i, x) in pair.b.iter_mut().enumerate() {
            *x = ((i * 29) % 17) as f32 / 100.0 - 0.08;
        }
    }
    adapter
}

#[test]
fn a_file_is_the_same_model_as_a_folder_with_its_numbers() {
    for family in FAMILIES {
        let twins = twins(family, SMALL, 1);
        let folder = load(&twins.folder, Arithmetic::Fast);
        let [fast, exact] =
            [Arithmetic::Fast, Arithmetic::Exact].map(|kind| load(&twins.gguf, kind));
        let mut config = exact.config().clone();
        config.norm_offset = folder.config().norm_offset;
        // The file has it in 32 bits.
        assert!((config.query_scale / folder.config().query_scale - 1.0).abs() < 1e-7);
        config.query_scale = folder.config().query_scale;
        assert_eq!(config, *folder.config(), "{family}");
        let adapter = adapter(&config);
        for adapter in [None, Some(&adapter)] {
            let [folder, fast, exact] =
                [&folder, &fast, &exact].map(|model| model.logits(&rows(), adapter).unwrap());
            let spread = folder.iter().fold(0.0f32, |max, x| max.max(x.abs()));
            assert!(spread > 0.1, "{family}: {spread}");
            let difference = largest_difference(&folder, &exact);
            assert!(difference < 1e-4 * spread.max(1.0), "{family}: {difference} of {spread}");
            let difference = largest_difference(&fast, &exact);
            assert!(difference < 1e-3 * spread.max(1.0), "{family}: {difference} of {spread}");
            assert!(difference > 0.0, "{family}: fast is not exact");
        }
    }
}

#[test]
fn divisors_of_the_wavelengths_are_those_of_llama_3() {
    let twins = twins("llama", SMALL, 1);
    let plain = load(&twins.folder, Arithmetic::Exact).logits(&rows(), None).unwrap();
    let [factor, low, high, original] = [8.0, 1.0, 4.0, 64.0f32];
    let path = twins.folder.join("config.json");
    let mut config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config["rope_scaling"] = serde_json::json!({
        "rope_type": "llama3", "factor": factor, "low_freq_factor": low, "high_freq_factor": high,
        "original_max_position_embeddings": original
    });
    std::fs::write(&path, config.to_string()).unwrap();
    // As the converter computes them from these settings.
    let divisor = |pair: usize| {
        let frequency = 20_000f32.powf(-2.0 * pair as f32 / SMALL.head as f32);
        let turns = original * frequency / std::f32::consts::TAU;
        let smooth = ((turns - low) / (high - low)).clamp(0.0, 1.0);
        1.0 / ((1.0 - smooth) / factor + smooth)
    };
    let divisors: Vec<f32> = (0..SMALL.head / 2).map(divisor).collect();
    assert!(divisors.contains(&1.0) && divisors.contains(&factor), "{divisors:?}");
    let mut parts = parts("llama", SMALL, 1, None);
    parts.tensors.push(Tensor {
        name: "rope_freqs.weight".into(),
        dims: vec![divisors.len() as u64],
        type_id: 0,
        bytes: divisors.iter().flat_map(|x| x.to_le_bytes()).collect(),
    });
    std::fs::write(&twins.gguf, parts.bytes()).unwrap();
    let [folder, file] = [&twins.folder, &twins.gguf]
        .map(|path| load(path, Arithmetic::Exact).logits(&rows(), None).unwrap());
    let difference = largest_difference(&folder, &file);
    assert!(difference < 1e-4, "{difference}");
    assert!(largest_difference(&plain, &file) > 100.0 * difference.max(1e-5));

    parts.tensor("rope_freqs.weight").bytes[..4].copy_from_slice(&0f32.to_le_bytes());
    std::fs::write(&twins.gguf, parts.bytes()).unwrap();
    let error = ModelFiles::open(&twins.gguf).and_then(|files| files.model_config()).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("rope_freqs.weight") && error.contains("fetch"), "{error}");
}

#[test]
fn tokenizer_and_template_are_those_of_the_folder() {
    let twins = twins("llama", SMALL, 1);
    let [folder, file] = [&twins.folder, &twins.gguf].map(|path| load(path, Arithmetic::Fast));
    for text in ["Hello, the sea <|end|> and the shore", "", "  two  spaces\n\n", "Zoë 🌊"] {
        assert_eq!(file.encode(text).unwrap(), folder.encode(text).unwrap(), "{text:?}");
        let turns = [Message { role: Role::User, content: text }];
        assert_eq!(file.encode_chat(&turns).unwrap(), folder.encode_chat(&turns).unwrap());
    }
    let (file, folder) = (file.info(), folder.info());
    assert_eq!((file.bos, &file.eos, file.chat), (folder.bos, &folder.eos, folder.chat));
}

#[test]
fn scores_do_not_depend_on_company_or_threads() {
    let twins = twins("qwen3", SMALL, 2);
    let texts: Vec<Sequence> = (0..9)
        .map(|i: u32| Sequence {
            context: (0..3 + i).map(|j| 3 + (i * 31 + j * 7) % 300).collect(),
            response: (0..20 - i).map(|j| 3 + (i * 13 + j * 11) % 300).collect(),
        })
        .collect();
    let files = ModelFiles::open(&twins.gguf).unwrap();
    let score = |threads| {
        let options = LoadOptions::default().with_workers(Workers::new(threads));
        let model = AnyModel::load_with(&files, &options).unwrap();
        let rows: Vec<_> = texts.iter().map(|text| (text, None)).collect();
        model.score(&rows).unwrap()
    };
    let one = score(1);
    assert_eq!(score(2), one);
    assert_eq!(score(5), one);
}

/// With an ε far above any gradient AdamW's step is the gradient, up to the factor.
#[test]
fn gradients_are_those_over_the_dequantised_numbers() {
    for family in FAMILIES {
        let twins = twins(family, SMALL, 3);
        let config = TrainConfig::default()
            .with_epochs(1)
            .with_batch_size(4)
            .with_learning_rate(1e4)
            .with_warmup(0.0)
            .with_epsilon(1e4)
            .with_weight_decay(0.0)
            .with_max_grad_norm(1e6);
        let texts: Vec<Sequence> = rows()
            .into_iter()
            .map(|row| Sequence { context: row[..10].into(), response: row[10..].into() })
            .collect();
        let factors = |path: &Path, arithmetic, checkpoint_layers| {
            let model = load(path, arithmetic);
            let mut start = adapter(model.config());
            start.base = model.fingerprint().into();
            let lora = start.config.clone();
            let config = config.clone().with_checkpoint_layers(checkpoint_layers);
            let mut request = TrainRequest::new(&lora, &texts, &config, 5);
            request.start = Some(&start);
            let trained = model.train(request, &mut |_| ControlFlow::Continue(())).unwrap();
            let numbers = |adapter: &Adapter| -> Vec<f32> {
                adapter
                    .pairs()
                    .flat_map(|(_, _, pair)| pair.a.iter().chain(&pair.b))
                    .copied()
                    .collect()
            };
            let (before, after) = (numbers(&start), numbers(&trained.adapter));
            before.iter().zip(after).map(|(a, b)| a - b).collect::<Vec<f32>>()
        };
        let wanted = factors(&twins.folder, Arithmetic::Fast, false);
        let largest = wanted.iter().fold(0.0f32, |max, x| max.max(x.abs()));
        assert!(largest > 1e-3, "{family}: {largest}");
        for (arithmetic, by_layer) in
            [(Arithmetic::Exact, false), (Arithmetic::Exact, true), (Arithmetic::Fast, false)]
        {
            let found = factors(&twins.gguf, arithmetic, by_layer);
            let difference = largest_difference(&wanted, &found);
            let bound = if arithmetic == Arithmetic::Exact { 1e-4 } else { 1e-3 };
            assert!(
                difference < bound * largest,
                "{family}, {arithmetic}: {difference} of {largest}"
            );
        }
    }
}

#[test]
fn the_fingerprint_covers_blocks_tokenizer_and_template() {
    let dir = tempfile::tempdir().unwrap();
    let print = |change: &dyn Fn(&mut Parts)| {
        let mut parts = parts("llama", SMALL, 1, None);
        change(&mut parts);
        let path = dir.path().join("model.gguf");
        std::fs::write(&path, parts.bytes()).unwrap();
        ModelFiles::open(&path).unwrap().fingerprint().unwrap()
    };
    let plain = print(&|_| {});
    assert_eq!(print(&|_| {}), plain);
    let changes: [&dyn Fn(&mut Parts); 3] = [
        &|parts| parts.tensor("blk.1.ffn_down.weight").bytes[100] ^= 1,
        &|parts| parts.bool("tokenizer.ggml.add_bos_token", false),
        &|parts| parts.string("tokenizer.chat_template", "{{ messages[0].content }}"),
    ];
    for change in changes {
        assert_ne!(print(change), plain);
    }
}

/// Spoils a file and names what the error has to say.
#[test]
fn bad_files_are_refused_in_one_line_that_names_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bad.gguf");
    let refused = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let loaded = ModelFiles::open(&path)
            .and_then(|files| AnyModel::load(&files, Device::Cpu).map(|_| ()));
        let error = loaded.unwrap_err().to_string();
        assert!(error.contains("bad.gguf") && !error.contains('\n'), "{error}");
        let advice = ["take ", "fetch ", "name ", "convert "];
        assert!(advice.iter().any(|word| error.contains(word)), "what to do? {error}");
        error
    };
    let good = parts("llama", SMALL, 1, None).bytes();
    for length in [0, 3, 20, good.len() / 2, good.len() - 40] {
        refused(&good[..length]);
    }
    let of = |change: &dyn Fn(&mut Parts)| {
        let mut parts = parts("llama", SMALL, 1, None);
        change(&mut parts);
        refused(&parts.bytes())
    };
    type Change<'a> = &'a dyn Fn(&mut Parts);
    let changes: [(Change<'_>, &[&str]); 15] = [
        (&|p| p.tensor("blk.0.attn_k.weight").dims = vec![64, 31], &["blk.0.attn_k.weight"]),
        (&|p| p.tensor("blk.0.attn_q.weight").type_id = 16, &["blk.0.attn_q.weight", "IQ2_XXS"]),
        (&|p| p.tensor("blk.0.attn_q.weight").type_id = 99, &["blk.0.attn_q.weight", "99"]),
        (&|p| p.tensors.retain(|t| t.name != "blk.1.ffn_up.weight"), &["blk.1.ffn_up.weight"]),
        (
            &|p| p.tensor("blk.1.attn_q.weight").name = "blk.1.attn_qkv.weight".into(),
            &["blk.1.attn_qkv.weight", "one matrix"],
        ),
        (
            &|p| p.tensor("blk.1.ffn_norm.weight").bytes[0..4].copy_from_slice(&[0, 0, 192, 127]),
            &["blk.1.ffn_norm.weight", "NaN"],
        ),
        (
            &|p| {
                let mut more = parts("llama", SMALL, 1, None).tensors.pop().unwrap();
                more.name = "blk.0.attn_q_norm.weight".into();
                p.tensors.push(more);
            },
            &["blk.0.attn_q_norm.weight"],
        ),
        (
            &|p| p.strings("tokenizer.ggml.tokens", &["a".into(), "b".into(), "c".into()]),
            &["tokenizer.ggml.tokens", "token_embd.weight"],
        ),
        (
            &|p| p.string("tokenizer.chat_template", "{% for message in %}"),
            &["tokenizer.chat_template"],
        ),
        (&|p| p.string("tokenizer.ggml.pre", "of-mine"), &["tokenizer.ggml.pre", "of-mine"]),
        (&|p| p.string("general.type", "adapter"), &["LoRA adapter", "language model"]),
        (&|p| p.string("general.type", "mmproj"), &["mmproj"]),
        (&|p| p.string("general.architecture", "clip"), &["mmproj"]),
        (&|p| p.string("general.architecture", "bert"), &["encoder"]),
        (&|p| p.u32("llama.rope.dimension_count", 8), &["llama.rope.dimension_count"]),
    ];
    for (change, words) in changes {
        let error = of(change);
        assert!(words.iter().all(|word| error.contains(word)), "{words:?}: {error}");
    }
    // Tensors behind the end of the file, and over each other.
    let name = b"output_norm.weight";
    let place = good.windows(name.len()).position(|bytes| bytes == name).unwrap() + name.len() + 16;
    for (offset, word) in [(1u64 << 40, "cut off or damaged"), (0, "token_embd.weight")] {
        let mut bytes = good.clone();
        bytes[place..place + 8].copy_from_slice(&offset.to_le_bytes());
        let error = refused(&bytes);
        assert!(error.contains("output_norm.weight") && error.contains(word), "{error}");
    }
}

#[test]
fn a_folder_with_such_a_file_says_to_name_the_file() {
    let twins = twins("llama", SMALL, 1);
    std::fs::remove_file(twins.folder.join("model.safetensors")).unwrap();
    std::fs::rename(&twins.gguf, twins.folder.join("model.gguf")).unwrap();
    let error = ModelFiles::open(&twins.folder).unwrap_err().to_string();
    assert!(error.contains("model.gguf"), "{error}");
}
