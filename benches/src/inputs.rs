//! Inputs of the comparisons: made up from a seed, the same for all systems and on all machines.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use anyhow::Result;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use spring_model::{
    Adapter, AnyModel, Device, LoraConfig, ModelFiles, Precision, PretrainConfig, PretrainStart,
};

use crate::work::Row;

fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// A text of token ids that every model here knows. The lowest ids are left out: they have special
/// meanings.
pub fn tokens(seed: u64, count: usize) -> Vec<u32> {
    let mut rng = rng(seed);
    (0..count).map(|_| rng.random_range(3..4000)).collect()
}

/// Texts of `length` tokens, an eighth of them context.
pub fn rows(count: usize, length: usize) -> Vec<Row> {
    let row = |seed| {
        let mut context = tokens(seed, length);
        let response = context.split_off(length / 8);
        Row { context, response }
    };
    (0..count as u64).map(row).collect()
}

/// Texts of words whose frequencies are like Zipf's: the rank's logarithm is uniform.
pub fn texts(seed: u64, count: usize, words: usize) -> Vec<String> {
    let mut rng = rng(seed);
    let mut word = || format!("w{}", 30_000f64.powf(rng.random::<f64>()) as u32);
    (0..count).map(|_| (0..words).map(|_| word()).collect::<Vec<_>>().join(" ")).collect()
}

/// Fifty vectors around each of many centres, as texts of one topic are.
pub fn vectors(count: usize, dimensions: usize) -> Vec<Vec<f32>> {
    let mut rng = rng(1);
    let random = |rng: &mut ChaCha8Rng, size: f32| -> Vec<f32> {
        (0..dimensions).map(|_| rng.random_range(-size..size)).collect()
    };
    let centres: Vec<Vec<f32>> = (0..count.div_ceil(50)).map(|_| random(&mut rng, 1.0)).collect();
    let near = |centre: &Vec<f32>, rng: &mut ChaCha8Rng| {
        centre.iter().zip(random(rng, 0.7)).map(|(c, x)| c + x).collect()
    };
    (0..count).map(|i| near(&centres[i % centres.len()], &mut rng)).collect()
}

/// The logits of two branches: a bell-shaped bulk and 64 likely tokens, and the same a little
/// disturbed.
pub fn logits(vocabulary: usize) -> [Vec<f32>; 2] {
    let mut rng = rng(3);
    let mut bell = || (0..6).map(|_| rng.random_range(-1.0f32..1.0)).sum::<f32>();
    let mut without: Vec<f32> = (0..vocabulary).map(|_| 2.0 * bell()).collect();
    for (rank, token) in (0..vocabulary).step_by(vocabulary.div_ceil(64)).enumerate() {
        without[token] = 16.0 - 1.5 * (rank as f32 + 1.0).ln();
    }
    let with = without.iter().map(|logit| logit + bell()).collect();
    [without, with]
}

/// Writes vectors as f32 in little-endian order.
pub fn write_vectors(path: &Path, vectors: &[Vec<f32>]) -> Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for number in vectors.iter().flatten() {
        file.write_all(&number.to_le_bytes())?;
    }
    Ok(file.flush()?)
}

/// Reads what [`write_vectors`] wrote, one vector after the other: a worker's peak memory is not
/// that of its input.
pub fn read_vectors(
    path: &Path,
    dimensions: usize,
) -> Result<impl Iterator<Item = Result<Vec<f32>>>> {
    let mut file = BufReader::new(File::open(path)?);
    let mut bytes = vec![0; 4 * dimensions];
    Ok(std::iter::from_fn(move || match file.fill_buf() {
        Ok([]) => None,
        Ok(_) => Some(file.read_exact(&mut bytes).map_err(Into::into).map(|()| {
            bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
        })),
        Err(error) => Some(Err(error.into())),
    }))
}

/// Writes adapters for a model: the first as a PEFT folder, all of them as GGUF files.
pub fn write_adapters(
    model: &Path,
    folder: &Path,
    count: usize,
) -> Result<(PathBuf, Vec<PathBuf>)> {
    let config = ModelFiles::open(model)?.model_config()?;
    let peft = folder.join("adapter");
    let mut files = Vec::new();
    for seed in 0..count as u64 {
        let mut adapter = Adapter::init(&LoraConfig::default(), &config, "", seed)?;
        let mut rng = rng(seed);
        for (_, _, pair) in adapter.pairs_mut() {
            pair.b.iter_mut().for_each(|value| *value = rng.random_range(-0.01..0.01));
        }
        if seed == 0 {
            adapter.save_peft(&peft, None)?;
        }
        let file = folder.join(format!("adapter-{seed}.gguf"));
        adapter.save_gguf(&file, &config)?;
        files.push(file);
    }
    Ok((peft, files))
}

/// Writes a model folder of SmolLM2-135M's shape with random weights.
pub fn write_random_135m(folder: &Path) -> Result<()> {
    let config = serde_json::json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 49152,
        "hidden_size": 576,
        "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 100_000.0,
        "hidden_act": "silu",
        "attention_bias": false, "mlp_bias": false, "tie_word_embeddings": true, "bos_token_id": 1,
        "eos_token_id": 2
    })
    .to_string();
    fs::write(folder.join("config.json"), &config)?;
    let start = PretrainStart::Random { config_json: config.as_bytes(), seed: 1 };
    Ok(AnyModel::pretrain(start, &PretrainConfig::default(), Device::Cpu)?
        .save(folder, Precision::F16)?)
}
