//! Tokens per second of scoring, training and decoding, for Llama shapes with random weights.
//!
//! cargo run --release -p spring-model --features cuda --example throughput -- --device cuda
//! --precision bf16 100m 1b
//!
//! Shapes: 5m (the built-in model's), 100m, 1b. The table goes to standard output, as Markdown.

#![allow(clippy::print_stdout)]

use std::{
    io::{BufWriter, Write},
    ops::ControlFlow,
    path::Path,
    sync::Arc,
    time::Instant,
};

use half::f16;
use rand::{Rng, SeedableRng};
use spring_model::{
    Adapter, AnyModel, Decode, Device, LoraConfig, ModelFiles, Precision, Score, Sequence, Train,
    TrainConfig, TrainRequest,
};

/// Keeps freed memory for the next tensor.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Error = Box<dyn std::error::Error>;

/// A Llama's sizes.
struct Shape {
    name: &'static str,
    vocabulary: usize,
    hidden: usize,
    inner: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
}

const SHAPES: [Shape; 3] = [
    Shape {
        name: "5m",
        vocabulary: 4096,
        hidden: 256,
        inner: 704,
        layers: 6,
        heads: 8,
        kv_heads: 4,
    },
    Shape {
        name: "100m",
        vocabulary: 32_000,
        hidden: 640,
        inner: 1728,
        layers: 18,
        heads: 10,
        kv_heads: 5,
    },
    Shape {
        name: "1b",
        vocabulary: 32_000,
        hidden: 2048,
        inner: 5632,
        layers: 22,
        heads: 32,
        kv_heads: 4,
    },
];

fn main() -> Result<(), Error> {
    let (mut device, mut precision, mut shapes) = (Device::Cpu, Precision::F32, Vec::new());
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--device" => device = value()?.parse()?,
            "--precision" => precision = value()?.parse()?,
            name => shapes.push(
                SHAPES
                    .iter()
                    .find(|shape| shape.name == name)
                    .ok_or_else(|| format!("no shape {name}"))?,
            ),
        }
    }
    println!("Tokens per second on {device}, {precision}; LoRA of rank 8 on q and v.\n");
    println!(
        "| parameters | score, 16 x 512 | train, 16 x 512 | decode, 1 row | 2 rows \
         | 16 rows, 8 adapters |"
    );
    println!("|---|---|---|---|---|---|");
    for shape in shapes {
        let dir = tempfile::tempdir()?;
        let parameters = write(dir.path(), shape)?;
        let model = AnyModel::load_as(&ModelFiles::from_dir(dir.path())?, precision, device)?;
        let rates = measure(&model)?.map(|rate| format!("{rate:.0}"));
        println!("| {:.0} M | {} |", parameters as f64 / 1e6, rates.join(" | "));
    }
    Ok(())
}

fn measure(model: &AnyModel) -> Result<[f64; 5], Error> {
    let adapters = (0..8)
        .map(|seed| {
            Adapter::init(&LoraConfig::default(), model.config(), model.fingerprint(), seed)
                .map(Arc::new)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let token = |i: usize| 3 + (i * 7919 % 4000) as u32;
    let sequences: Vec<Sequence> = (0..16)
        .map(|row| Sequence {
            context: (0..64).map(|i| token(row * 513 + i)).collect(),
            response: (64..513).map(|i| token(row * 513 + i)).collect(),
        })
        .collect();
    let tokens = (16 * 512) as f64;
    let rows: Vec<_> = sequences.iter().map(|sequence| (sequence, Some(&*adapters[0]))).collect();
    let score = rate(tokens, || Ok(model.score(&rows).map(drop)?))?;
    let lora = LoraConfig::default();
    let config = TrainConfig::default().with_epochs(1).with_batch_size(16);
    let train = rate(tokens, || {
        let request = TrainRequest::new(&lora, &sequences, &config, 0);
        let adapt = model.train(request, &mut |_| ControlFlow::Continue(()));
        Ok(adapt.map(drop)?)
    })?;
    let decode = |rows: usize, adapters: &[Arc<Adapter>]| -> Result<f64, Error> {
        let mut session = model.session()?;
        let rows = (0..rows)
            .map(|row| {
                let adapter = adapters[row % adapters.len()].clone();
                session.join(&sequences[row].context, Some(adapter), 72)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let mut run = |steps: usize| {
            (0..steps).try_for_each(|i| {
                let tokens: Vec<_> = rows.iter().map(|row| (*row, token(i))).collect();
                session.step(&tokens)
            })
        };
        // The first steps compile kernels on a GPU.
        run(8)?;
        let start = Instant::now();
        run(64)?;
        let rate = (64 * rows.len()) as f64 / start.elapsed().as_secs_f64();
        Ok(rate)
    };
    Ok([
        score,
        train,
        decode(1, &adapters[..1])?,
        decode(2, &adapters[..1])?,
        decode(16, &adapters)?,
    ])
}

/// The best of three runs after one that warms up.
fn rate(tokens: f64, mut work: impl FnMut() -> Result<(), Error>) -> Result<f64, Error> {
    work()?;
    let mut best = 0f64;
    for _ in 0..3 {
        let start = Instant::now();
        work()?;
        best = best.max(tokens / start.elapsed().as_secs_f64());
    }
    Ok(best)
}

/// Writes a model folder; gives the number of parameters.
fn write(dir: &Path, shape: &Shape) -> Result<usize, Error> {
    let &Shape { vocabulary, hidden, inner, layers, heads, kv_heads, .. } = shape;
    let kv = hidden / heads * kv_heads;
    let config = serde_json::json!({
        "model_type": "llama", "vocab_size": vocabulary, "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv_heads,
        "max_position_embeddings": 2048, "tie_word_embeddings": true
    });
    std::fs::write(dir.join("config.json"), config.to_string())?;
    let mut tensors = vec![
        ("model.embed_tokens.weight".to_owned(), vec![vocabulary, hidden]),
        ("model.norm.weight".to_owned(), vec![hidden]),
    ];
    for layer in 0..layers {
        for norm in ["input_layernorm", "post_attention_layernorm"] {
            tensors.push((format!("model.layers.{layer}.{norm}.weight"), vec![hidden]));
        }
        for (name, d_out, d_in) in [
            ("self_attn.q_proj", hidden, hidden),
            ("self_attn.k_proj", kv, hidden),
            ("self_attn.v_proj", kv, hidden),
            ("self_attn.o_proj", hidden, hidden),
            ("mlp.gate_proj", inner, hidden),
            ("mlp.up_proj", inner, hidden),
            ("mlp.down_proj", hidden, inner),
        ] {
            tensors.push((format!("model.layers.{layer}.{name}.weight"), vec![d_out, d_in]));
        }
    }
    let (mut header, mut at) = (serde_json::Map::new(), 0);
    for (name, dims) in tensors {
        let end = at + 2 * dims.iter().product::<usize>();
        header.insert(
            name,
            serde_json::json!({"dtype": "F16", "shape": dims, "data_offsets": [at, end]}),
        );
        at = end;
    }
    let header = serde_json::Value::Object(header).to_string();
    let mut file = BufWriter::new(std::fs::File::create(dir.join("model.safetensors"))?);
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(0);
    for _ in 0..at / 2 {
        file.write_all(&f16::from_f32(rng.random_range(-0.03..0.03)).to_le_bytes())?;
    }
    file.flush()?;
    Ok(at / 2)
}
