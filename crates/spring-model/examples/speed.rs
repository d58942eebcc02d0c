//! Loading, reading, decoding, scoring and training of real models, measured in turns.
//!
//! cargo run --release -p spring-model --example speed -- [--arithmetic fast|exact] [--threads N]
//! [--rounds N] [--only WORDS] MODEL…
//!
//! A model is a folder or a GGUF file. Each piece of work runs once for every model before the next
//! round begins, so that what else the machine does falls on all of them; the fastest round of each
//! counts. `--only load,decode` leaves out what none of the words begins. The table goes to
//! standard output, as Markdown; tokens are per second.

#![allow(clippy::print_stdout)]

use std::{ops::ControlFlow, sync::Arc, time::Instant};

use spring_model::{
    Adapter, AnyModel, Arithmetic, Decode, LoadOptions, LoraConfig, ModelFiles, Score, Sequence,
    Train, TrainConfig, TrainRequest, Workers,
};

/// Keeps freed memory for the next tensor.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Error = Box<dyn std::error::Error>;
type Work = fn(&Subject) -> Result<f64, Error>;

/// A model with what is measured on it.
struct Subject {
    model: AnyModel,
    adapters: Vec<Arc<Adapter>>,
}

/// Names and what they measure: tokens per second.
const WORKS: [(&str, Work); 9] = [
    ("read 512 tokens", |subject| subject.read(512)),
    ("decode at 128", |subject| subject.decode(1, 128, 64)),
    ("decode at 1,024", |subject| subject.decode(1, 1024, 24)),
    ("decode 8 rows, 8 adapters, at 128", |subject| subject.decode(8, 128, 48)),
    ("decode 16 rows, 16 adapters, at 128", |subject| subject.decode(16, 128, 48)),
    ("decode 8 rows, base, at 128", |subject| subject.decode_base(8, 128, 48)),
    ("score 8 texts of 128", |subject| subject.score(8)),
    ("score 30 texts of 128", |subject| subject.score(30)),
    ("train on 8 texts of 256", Subject::train),
];

fn main() -> Result<(), Error> {
    let (mut arithmetic, mut workers, mut rounds) = (Arithmetic::Fast, Workers::default(), 3);
    let (mut only, mut paths) = (Vec::new(), Vec::new());
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--arithmetic" => arithmetic = value()?.parse()?,
            "--threads" => workers = Workers::new(value()?.parse()?),
            "--rounds" => rounds = value()?.parse()?,
            "--only" => only = value()?.split(',').map(str::to_owned).collect(),
            _ => paths.push(arg),
        }
    }
    let options = LoadOptions::default().with_arithmetic(arithmetic).with_workers(workers);
    let mut subjects = Vec::new();
    println!("| {arithmetic} | {} |", paths.join(" | "));
    println!("|---|{}", "---|".repeat(paths.len()));
    let (mut loads, mut peaks) = (Vec::new(), Vec::new());
    for path in &paths {
        let start = Instant::now();
        let model = AnyModel::load_with(&ModelFiles::open(path)?, &options)?;
        loads.push(format!("{:.2} s", start.elapsed().as_secs_f64()));
        peaks.push(
            memory().map_or("-".into(), |(peak, now)| format!("{peak:.0}, then {now:.0} MB")),
        );
        let adapters = (0..16).map(|seed| {
            let config = LoraConfig::default();
            let mut adapter = Adapter::init(&config, model.config(), model.fingerprint(), seed)?;
            for (_, _, pair) in adapter.pairs_mut() {
                pair.b.iter_mut().enumerate().for_each(|(i, x)| *x = (i % 7) as f32 * 1e-3);
            }
            Ok(Arc::new(adapter))
        });
        let adapters = adapters.collect::<Result<_, Error>>()?;
        subjects.push(Subject { model, adapters });
    }
    println!("| load | {} |", loads.join(" | "));
    println!("| memory of the process, at most and after loading | {} |", peaks.join(" | "));
    for (name, work) in WORKS {
        if !only.is_empty() && !only.iter().any(|word| name.starts_with(word.as_str())) {
            continue;
        }
        let mut best = vec![0f64; subjects.len()];
        for _ in 0..rounds {
            for (best, subject) in best.iter_mut().zip(&subjects) {
                *best = best.max(work(subject)?);
            }
        }
        let shown: Vec<String> = best.iter().map(|rate| format!("{rate:.0}")).collect();
        println!("| {name} | {} |", shown.join(" | "));
    }
    if let Some((peak, _)) = memory() {
        println!("\nMemory of the process at most: {peak:.0} MB");
    }
    Ok(())
}

/// Memory of this process in MB: at most, and now; on Linux.
fn memory() -> Option<(f64, f64)> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok()
    };
    Some((of("VmHWM:")? / 1024.0, of("VmRSS:")? / 1024.0))
}

impl Subject {
    fn token(&self, i: usize) -> u32 {
        (100 + i * 7919 % (self.model.config().vocab_size - 200)) as u32
    }

    fn tokens(&self, from: usize, count: usize) -> Vec<u32> {
        (from..from + count).map(|i| self.token(i)).collect()
    }

    fn read(&self, count: usize) -> Result<f64, Error> {
        let (mut session, tokens) = (self.model.session()?, self.tokens(0, count));
        let start = Instant::now();
        session.join(&tokens, None, 1)?;
        Ok(count as f64 / start.elapsed().as_secs_f64())
    }

    fn decode(&self, rows: usize, context: usize, steps: usize) -> Result<f64, Error> {
        self.decode_with(rows, context, steps, |row| match rows {
            1 => None,
            _ => self.adapters.get(row).cloned(),
        })
    }

    fn decode_base(&self, rows: usize, context: usize, steps: usize) -> Result<f64, Error> {
        self.decode_with(rows, context, steps, |_| None)
    }

    fn decode_with(
        &self,
        rows: usize,
        context: usize,
        steps: usize,
        adapter: impl Fn(usize) -> Option<Arc<Adapter>>,
    ) -> Result<f64, Error> {
        let mut session = self.model.session()?;
        let rows = (0..rows)
            .map(|row| session.join(&self.tokens(row * 31, context), adapter(row), steps + 4))
            .collect::<Result<Vec<_>, _>>()?;
        let mut run = |steps: usize| {
            (0..steps).try_for_each(|i| {
                let tokens: Vec<_> = rows.iter().map(|row| (*row, self.token(i))).collect();
                session.step(&tokens)
            })
        };
        run(3)?;
        let start = Instant::now();
        run(steps)?;
        Ok((steps * rows.len()) as f64 / start.elapsed().as_secs_f64())
    }

    fn texts(&self, count: usize, length: usize) -> Vec<Sequence> {
        (0..count)
            .map(|row| Sequence {
                context: self.tokens(row * 257, length / 4),
                response: self.tokens(row * 131, length - length / 4 - row % 13),
            })
            .collect()
    }

    /// Response tokens under base and adapter.
    fn score(&self, count: usize) -> Result<f64, Error> {
        let texts = self.texts(count, 128);
        let adapter = Some(&*self.adapters[0]);
        let rows: Vec<_> = texts.iter().flat_map(|text| [(text, None), (text, adapter)]).collect();
        let start = Instant::now();
        self.model.score(&rows)?;
        let tokens: usize = rows.iter().map(|(text, _)| text.response.len()).sum();
        Ok(tokens as f64 / start.elapsed().as_secs_f64())
    }

    fn train(&self) -> Result<f64, Error> {
        let texts = self.texts(8, 256);
        let lora = LoraConfig::default();
        let config = TrainConfig::default().with_epochs(1);
        let request = TrainRequest::new(&lora, &texts, &config, 0);
        let start = Instant::now();
        self.model.train(request, &mut |_| ControlFlow::Continue(()))?;
        let tokens: usize = texts.iter().map(Sequence::len).sum();
        Ok(tokens as f64 / start.elapsed().as_secs_f64())
    }
}
