//! Which comparisons there are, section by section of docs/results/performance.md.

use std::{
    iter,
    path::{Path, PathBuf},
};

use anyhow::Result;
use spring_core::spring_memory::VectorStore;

use crate::{
    inputs,
    work::{TrainSettings, Work},
};

/// The names of the sections.
pub const SECTIONS: [&str; 9] = [
    "model-5m",
    "model-135m",
    "gguf-smollm2",
    "gguf-gemma3",
    "bm25",
    "dense",
    "fuse",
    "history",
    "users",
];

/// The GGUF file that a section measures.
pub fn gguf_file(section: &str) -> Option<&'static str> {
    match section {
        "gguf-smollm2" => Some("SmolLM2-135M-Instruct.Q4_1.gguf"),
        "gguf-gemma3" => Some("gemma-3-270m-q4_k_m.gguf"),
        _ => None,
    }
}

/// A system that can do some of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    /// This project.
    Ours,
    /// candle-transformers, in Rust.
    Candle,
    /// A script in Python.
    Python(&'static str),
}

const TORCH: System = System::Python("torch_peer.py");
const LLAMA: System = System::Python("llama_peer.py");
const LLAMA_NATIVE: System = System::Python("llama_native_peer.py");
const RANK_BM25: System = System::Python("bm25_peer.py");
const HNSWLIB: System = System::Python("hnswlib_peer.py");
const LOGITS: System = System::Python("fuse_peer.py");

/// How the seconds of a part are told.
#[derive(Debug, Clone, Copy)]
pub enum Unit {
    /// So many of these in the part; told as a rate.
    PerSecond(usize, &'static str),
    /// So many of these in the part; told as milliseconds for one.
    Milliseconds(usize, &'static str),
}

/// The same work for several systems.
#[derive(Debug)]
pub struct Comparison {
    /// What is done, as the table says it.
    pub title: String,
    /// The work.
    pub work: Work,
    /// Who does it; this project first.
    pub systems: Vec<System>,
    /// How each part's time is told; those of other parts than named here by the first.
    pub units: Vec<(&'static str, Unit)>,
    /// How far apart the systems' results may be.
    pub tolerance: f64,
    /// At most this many rounds.
    pub rounds: usize,
}

impl Comparison {
    /// How the time of a part is told.
    pub fn unit(&self, part: &str) -> Unit {
        let named = self.units.iter().find(|(name, _)| *name == part).or(self.units.first());
        named.map_or(Unit::Milliseconds(1, "run"), |(_, unit)| *unit)
    }
}

/// The comparisons of one section, its files in `folder`.
pub fn section(
    name: &str,
    model: &Path,
    gguf: Option<&Path>,
    folder: &Path,
    quick: bool,
) -> Result<Vec<Comparison>> {
    if let Some((gguf, file)) = gguf.zip(gguf_file(name)) {
        // A folder of the same model in 16-bit floats, where there is one.
        let plain = gguf.join(if name == "gguf-smollm2" { "smollm2-135m" } else { "gemma-3-270m" });
        let plain = plain.is_dir().then_some(plain);
        return quantised(&gguf.join(file), plain, folder, quick);
    }
    match name {
        "model-5m" => Ok(models(model, if quick { Size::QUICK } else { Size::SMALL })),
        "model-135m" => {
            inputs::write_random_135m(folder)?;
            Ok(models(folder, if quick { Size::QUICK } else { Size::LARGE }))
        }
        "bm25" => Ok(bm25(quick)),
        "dense" => dense(folder, quick),
        "fuse" => Ok(vec![fuse(folder, quick)?]),
        "history" => Ok(histories(model, quick)),
        _ => Ok(users(model, quick)),
    }
}

/// How much of a model's work is timed.
struct Size {
    score_rows: usize,
    train_rows: usize,
    train_steps: usize,
    length: usize,
    new_tokens: usize,
    positions: [usize; 2],
}

impl Size {
    const SMALL: Self = Self {
        score_rows: 16,
        train_rows: 4,
        train_steps: 4,
        length: 512,
        new_tokens: 32,
        positions: [128, 1024],
    };
    const LARGE: Self = Self {
        score_rows: 4,
        train_rows: 4,
        train_steps: 2,
        length: 512,
        new_tokens: 16,
        positions: [128, 1024],
    };
    const QUICK: Self = Self {
        score_rows: 2,
        train_rows: 2,
        train_steps: 2,
        length: 64,
        new_tokens: 4,
        positions: [32, 64],
    };
}

const SETTINGS: TrainSettings = TrainSettings {
    rank: 8,
    alpha: 8.0,
    dropout: 0.05,
    learning_rate: 1e-4,
    warmup: 0.1,
    beta1: 0.9,
    beta2: 0.999,
    epsilon: 1e-8,
    weight_decay: 1e-2,
    max_grad_norm: 0.3,
};

/// A GGUF file: what is decoded and read beside llama.cpp, what is scored and learned beside torch.
fn quantised(
    file: &Path,
    plain: Option<PathBuf>,
    folder: &Path,
    quick: bool,
) -> Result<Vec<Comparison>> {
    let model = file.to_path_buf();
    let (length, positions, new_tokens) =
        if quick { (64, [32, 64], 4) } else { (512, [128, 1024], 32) };
    let many: &[(&str, usize)] =
        if quick { &[("2 rows", 2)] } else { &[("8 rows", 8), ("16 rows", 16)] };
    let rows: Vec<_> = iter::once(1).chain(many.iter().map(|(_, rows)| *rows)).collect();
    let most = rows.iter().max().copied().unwrap_or(1);
    let texts: &[usize] = if quick { &[2] } else { &[8, 30] };
    let words = if quick { 32 } else { 192 };
    let (peft, adapters) = inputs::write_adapters(file, folder, most)?;
    // llama.cpp rounds what its weights are multiplied with to 8 bits: its numbers are others.
    let (near, close) = (0.5, 1e-2);
    let new = |title: &str, systems: &[System], unit, tolerance, work| Comparison {
        title: title.into(),
        work,
        systems: systems.to_vec(),
        units: vec![("", unit)],
        tolerance,
        rounds: usize::MAX,
    };
    let llama = [System::Ours, LLAMA, LLAMA_NATIVE];
    let tokens = inputs::tokens(9, positions[1]);
    let mut all = vec![
        new(
            "until the first token after 16",
            &llama,
            Unit::Milliseconds(1, "load"),
            near,
            Work::Load { model: model.clone(), tokens: tokens[..16].into() },
        ),
        new(
            &format!("{length} tokens"),
            &llama,
            Unit::PerSecond(length, "tokens"),
            near,
            Work::Prefill { model: model.clone(), tokens: tokens[..length].into() },
        ),
        new(
            "rows × position",
            &llama,
            Unit::PerSecond(new_tokens, "tokens"),
            near,
            Work::Decode {
                model: model.clone(),
                tokens: tokens.clone(),
                new_tokens,
                positions: positions.into(),
                rows: vec![1],
            },
        ),
    ];
    let mut decoding = new(
        &format!("one each, at {}", positions[0]),
        &[System::Ours, LLAMA],
        Unit::PerSecond(new_tokens, "tokens"),
        near,
        Work::Adapters {
            model: model.clone(),
            adapters,
            tokens,
            new_tokens,
            position: positions[0],
            rows,
        },
    );
    let per_second = |rows| Unit::PerSecond(rows * new_tokens, "tokens");
    decoding.units.extend(many.iter().map(|(name, rows)| (*name, per_second(*rows))));
    all.push(decoding);
    let bases = [("", Some(model)), (" of the folder", plain)];
    for (of, base) in bases {
        let Some(base) = base else { continue };
        for (with, adapter) in [("", None), (" with an adapter", Some(peft.clone()))] {
            for &count in texts {
                all.push(new(
                    &format!("{count} × {words} tokens{with}{of}"),
                    &[System::Ours, TORCH],
                    Unit::PerSecond(count * words, "tokens"),
                    close,
                    Work::Score {
                        model: base.clone(),
                        rows: inputs::rows(count, words),
                        adapter: adapter.clone(),
                        batch_size: 8,
                    },
                ));
            }
        }
        let (steps, batch) = if quick { (1, 2) } else { (3, 4) };
        all.push(new(
            &format!("{steps} steps of {batch} × {words} tokens{of}"),
            &[System::Ours, TORCH],
            Unit::PerSecond(steps * batch * words, "tokens"),
            close,
            Work::Train {
                model: base,
                rows: inputs::rows(batch, words),
                steps,
                settings: SETTINGS,
            },
        ));
    }
    Ok(all)
}

fn models(model: &Path, size: Size) -> Vec<Comparison> {
    let Size { score_rows, train_rows, train_steps, length, new_tokens, positions } = size;
    let model = model.to_path_buf();
    let new = |title: String, systems: &[System], unit, work| Comparison {
        title,
        work,
        systems: systems.to_vec(),
        units: vec![("", unit)],
        tolerance: 1e-3,
        rounds: usize::MAX,
    };
    vec![
        new(
            format!("{score_rows} × {length} tokens"),
            &[System::Ours, TORCH],
            Unit::PerSecond(score_rows * length, "tokens"),
            Work::Score {
                model: model.clone(),
                rows: inputs::rows(score_rows, length),
                adapter: None,
                batch_size: 2,
            },
        ),
        new(
            format!("{train_steps} steps of {train_rows} × {length} tokens"),
            &[System::Ours, TORCH],
            Unit::PerSecond(train_steps * train_rows * length, "tokens"),
            Work::Train {
                model: model.clone(),
                rows: inputs::rows(train_rows, length),
                steps: train_steps,
                settings: SETTINGS,
            },
        ),
        new(
            format!("{length} tokens"),
            &[System::Ours, System::Candle, TORCH],
            Unit::PerSecond(length, "tokens"),
            Work::Prefill { model: model.clone(), tokens: inputs::tokens(7, length) },
        ),
        new(
            "rows × position".into(),
            &[System::Ours, System::Candle, TORCH],
            Unit::Milliseconds(new_tokens, "token"),
            Work::Decode {
                model,
                tokens: inputs::tokens(8, positions[1]),
                new_tokens,
                positions: positions.into(),
                rows: vec![1, 2],
            },
        ),
    ]
}

fn bm25(quick: bool) -> Vec<Comparison> {
    let corpora: &[(usize, usize)] =
        if quick { &[(200, 20)] } else { &[(200, 200), (2_000, 200), (20_000, 50)] };
    let corpora = corpora.iter().map(|&(documents, queries)| Comparison {
        title: format!("{documents} documents"),
        work: Work::Bm25 {
            documents: inputs::texts(1, documents, 100),
            queries: inputs::texts(2, queries, 15),
            k: 10,
        },
        systems: vec![System::Ours, RANK_BM25],
        units: vec![
            ("search", Unit::PerSecond(queries, "queries")),
            ("index", Unit::PerSecond(documents, "documents")),
        ],
        tolerance: 1e-6,
        rounds: usize::MAX,
    });
    corpora.collect()
}

fn dense(folder: &Path, quick: bool) -> Result<Vec<Comparison>> {
    let counts: &[usize] = if quick { &[1_000] } else { &[10_000, 100_000] };
    let counts = counts.iter().map(|&count| {
        Ok(Comparison {
            title: format!("{count} vectors"),
            work: nearest(folder.join(format!("{count}.f32")), count)?,
            systems: vec![System::Ours, HNSWLIB],
            units: vec![
                ("search", Unit::PerSecond(QUERIES, "queries")),
                ("build", Unit::PerSecond(count, "vectors")),
            ],
            tolerance: 0.0,
            rounds: usize::MAX,
        })
    });
    counts.collect()
}

const DIMENSIONS: usize = 256;
const QUERIES: usize = 200;
const NEAREST: usize = 10;

fn nearest(path: PathBuf, count: usize) -> Result<Work> {
    let vectors = inputs::vectors(count + QUERIES, DIMENSIONS);
    inputs::write_vectors(&path, &vectors)?;
    let (stored, queries) = vectors.split_at(count);
    let mut store = VectorStore::new(DIMENSIONS);
    for (vector, key) in stored.iter().zip(0..) {
        store.add(key, vector)?;
    }
    let truth = queries
        .iter()
        .map(|query| {
            let hits = store.search(query, NEAREST, |_| true)?;
            Ok(hits.into_iter().map(|hit| hit.key).collect())
        })
        .collect::<Result<_>>()?;
    Ok(Work::Dense {
        vectors: path,
        dimensions: DIMENSIONS,
        count,
        links: 16,
        ef_construction: 100,
        ef_search: vec![16, 64, 256],
        truth,
    })
}

fn fuse(folder: &Path, quick: bool) -> Result<Comparison> {
    let (vocabulary, steps) = if quick { (1_000, 2) } else { (262_144, 50) };
    let logits = folder.join("logits.f32");
    inputs::write_vectors(&logits, &inputs::logits(vocabulary))?;
    Ok(Comparison {
        title: format!("two branches over {vocabulary} tokens"),
        work: Work::Fuse { logits, vocabulary, steps, temperature: 0.8, top_p: 0.95 },
        systems: vec![System::Ours, LOGITS],
        units: vec![("", Unit::Milliseconds(steps, "token"))],
        tolerance: 1e-3,
        rounds: usize::MAX,
    })
}

fn histories(model: &Path, quick: bool) -> Vec<Comparison> {
    let (histories, new, selected): (&[usize], _, _) =
        if quick { (&[8, 80], 4, 2) } else { (&[200, 2_000, 20_000], 200, 60) };
    let histories = histories.iter().map(|&before| Comparison {
        title: format!("{new} texts after {before}"),
        work: Work::History { model: model.into(), before, new, selected },
        systems: vec![System::Ours],
        units: vec![("", Unit::Milliseconds(new, "text"))],
        tolerance: 0.0,
        rounds: 3,
    });
    histories.collect()
}

fn users(model: &Path, quick: bool) -> Vec<Comparison> {
    let (users, texts): (&[usize], _) = if quick { (&[1, 2], 4) } else { (&[1, 10, 100], 20) };
    let users = users.iter().map(|&users| Comparison {
        title: format!("{users} of {texts} texts"),
        work: Work::Users { model: model.into(), users, texts },
        systems: vec![System::Ours],
        units: vec![("", Unit::Milliseconds(users, "user"))],
        tolerance: 0.0,
        rounds: if users < 100 { 3 } else { 1 },
    });
    users.collect()
}
