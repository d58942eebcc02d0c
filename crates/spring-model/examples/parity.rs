//! Compares logits with those of a reference implementation: `cargo xtask parity MODEL…`.
//!
//! A folder holds a model in the Hugging Face layout, `reference.safetensors` with `input_ids`
//! `[rows, length]` and `logits` `[rows, length, vocabulary]`, and perhaps a PEFT folder `adapter`
//! with the reference's `adapter_logits`. A GGUF file has its reference beside it, under the same
//! name with the ending `.safetensors` (`benches/python/gguf_logits.py` writes one), or by
//! `--reference`.
//!
//! `--texts FILE` takes texts, JSONL with `prompt` and `response`, and says of each GGUF file how
//! far its fast arithmetic is from its exact one: mean KL in nats per token, and at how many
//! positions both put the same token first.

#![allow(clippy::print_stdout)]

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use safetensors::{Dtype, SafeTensors};
use spring_model::{
    Adapter, AnyModel, Arithmetic, Device, LoadOptions, ModelError, ModelFiles, Precision, Tokenize,
};

const USAGE: &str = "\
usage: parity [--device cpu|wgpu|cuda] [--precision f32|f16|bf16] [--arithmetic fast|exact]
              [--tolerance X] [--reference FILE] [--texts FILE] MODEL…

Exit code: 0 when every difference is within the tolerance (1e-4; 1e-3 for GGUF files, whose
arithmetic is exact unless it is said; 0.05 for f16 and for CUDA's TF32, 0.3 for bf16) and fast is
near exact (0.002 nats, 99 % of the tokens), 1 otherwise or for a model that cannot be compared, 2
for a bad command line.";

/// How far fast may be from exact: nats per token, and the part of the tokens that come first.
const NEAR: (f64, f64) = (0.002, 0.99);
/// How many texts are compared, and how many tokens of each.
const TEXTS: usize = 50;
const TOKENS: usize = 192;

type Error = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    match run(std::env::args().skip(1)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

struct Settings {
    device: Device,
    precision: Option<Precision>,
    arithmetic: Arithmetic,
    reference: Option<PathBuf>,
}

/// Whether all models agree with their reference.
fn run(mut args: impl Iterator<Item = String>) -> Result<bool, Error> {
    let mut settings = Settings {
        device: Device::Cpu,
        precision: None,
        arithmetic: Arithmetic::Exact,
        reference: None,
    };
    let (mut tolerance, mut texts) = (None, None);
    let mut models = Vec::new();
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--device" => settings.device = value()?.parse()?,
            "--precision" => settings.precision = Some(value()?.parse()?),
            "--arithmetic" => settings.arithmetic = value()?.parse()?,
            "--reference" => settings.reference = Some(value()?.into()),
            "--texts" => texts = Some(PathBuf::from(value()?)),
            "--tolerance" => tolerance = Some(value()?.parse::<f32>()?),
            flag if flag.starts_with("--") => return Err(format!("unknown flag {flag}").into()),
            _ => models.push(arg),
        }
    }
    if models.is_empty() {
        return Err("no model given".into());
    }
    let texts = texts.map(read_texts).transpose()?;
    let mut agree = true;
    for model in models {
        let path = Path::new(&model);
        let tolerance = tolerance.unwrap_or(match (settings.precision, settings.device) {
            (Some(Precision::Bf16), _) => 0.3,
            // Products of float32 are made in TF32 there.
            (Some(Precision::F16), _) | (_, Device::Cuda) => 0.05,
            _ if path.is_file() => 1e-3,
            _ => 1e-4,
        });
        match compare(path, &settings) {
            Ok([base, adapter]) => {
                let within = |x: Option<f32>| x.is_none_or(|x| x <= tolerance);
                let ok = within(base) && within(adapter);
                agree &= ok;
                let show = |x: Option<f32>| x.map_or("-".into(), |x| format!("{x:.1e}"));
                let word = if ok { "ok" } else { "ABOVE THE TOLERANCE" };
                println!(
                    "{model}: largest difference of a logit {}, with the adapter {}; tolerance \
                     {tolerance:e}, {}: {word}",
                    show(base),
                    show(adapter),
                    settings.device
                );
            }
            Err(error) => {
                agree = false;
                println!("{model}: {error}");
            }
        }
        let Some(texts) = texts.as_ref().filter(|_| path.is_file()) else { continue };
        let (positions, kl, same) = fast_from_exact(path, &settings, texts)?;
        let ok = kl <= NEAR.0 && same >= NEAR.1;
        agree &= ok;
        println!(
            "{model}: fast is {kl:.1e} nats per token from exact and puts the same token first at \
             {:.2} % of {positions} positions in {} texts: {}",
            100.0 * same,
            texts.len(),
            if ok { "ok" } else { "TOO FAR" }
        );
    }
    Ok(agree)
}

fn read_texts(path: PathBuf) -> Result<Vec<String>, Error> {
    let file = std::fs::read_to_string(&path).map_err(|source| ModelError::Io { path, source })?;
    let text = |line: &str| -> Result<String, Error> {
        let line: serde_json::Value = serde_json::from_str(line)?;
        let field = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        Ok(format!("{}\n\n{}", field("prompt"), field("response")))
    };
    file.lines().take(TEXTS).map(text).collect()
}

fn load(path: &Path, settings: &Settings, arithmetic: Arithmetic) -> Result<AnyModel, Error> {
    let options = LoadOptions::default()
        .with_device(settings.device)
        .with_precision(settings.precision)
        .with_arithmetic(arithmetic);
    Ok(AnyModel::load_with(&ModelFiles::open(path)?, &options)?)
}

/// Positions, mean KL of fast from exact, and the part of the positions with the same first token.
fn fast_from_exact(
    path: &Path,
    settings: &Settings,
    texts: &[String],
) -> Result<(usize, f64, f64), Error> {
    let [fast, exact] =
        [load(path, settings, Arithmetic::Fast)?, load(path, settings, Arithmetic::Exact)?];
    let vocabulary = exact.config().vocab_size;
    let (mut positions, mut kl, mut same) = (0, 0.0, 0);
    for text in texts {
        let mut ids = exact.encode(text)?;
        ids.truncate(TOKENS);
        if ids.is_empty() {
            continue;
        }
        let rows = [ids];
        let [fast, exact] = [fast.logits(&rows, None)?, exact.logits(&rows, None)?];
        for (fast, exact) in fast.chunks_exact(vocabulary).zip(exact.chunks_exact(vocabulary)) {
            let [of_fast, of_exact] = [log_sum_exp(fast), log_sum_exp(exact)];
            let terms = fast.iter().zip(exact).map(|(f, e)| {
                let (f, e) = (f64::from(*f) - of_fast, f64::from(*e) - of_exact);
                e.exp() * (e - f)
            });
            kl += terms.sum::<f64>();
            same += usize::from(first(fast) == first(exact));
            positions += 1;
        }
    }
    let count = positions.max(1) as f64;
    Ok((positions, kl / count, same as f64 / count))
}

fn log_sum_exp(logits: &[f32]) -> f64 {
    let highest = logits.iter().fold(f32::NEG_INFINITY, |max, x| max.max(*x));
    let total: f64 = logits.iter().map(|x| f64::from(x - highest).exp()).sum();
    f64::from(highest) + total.ln()
}

fn first(logits: &[f32]) -> Option<usize> {
    (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]))
}

/// The largest difference without and with the adapter.
fn compare(model: &Path, settings: &Settings) -> Result<[Option<f32>; 2], Error> {
    let path = match &settings.reference {
        Some(path) => path.clone(),
        None if model.is_file() => model.with_extension("safetensors"),
        None => model.join("reference.safetensors"),
    };
    let bytes = std::fs::read(&path).map_err(|source| ModelError::Io { path, source })?;
    let reference = SafeTensors::deserialize(&bytes)?;
    let ids = reference.tensor("input_ids")?;
    let &[_, length] = ids.shape() else { return Err("input_ids is no matrix".into()) };
    if ids.dtype() != Dtype::I64 || length == 0 {
        return Err("input_ids is not of type I64, or empty".into());
    }
    let ids: Vec<u32> = ids
        .data()
        .as_chunks()
        .0
        .iter()
        .map(|b| u32::try_from(i64::from_le_bytes(*b)))
        .collect::<Result<_, _>>()?;
    let rows: Vec<Vec<u32>> = ids.chunks(length).map(<[u32]>::to_vec).collect();
    let adapter = match model.join("adapter") {
        path if path.is_dir() => Some(Adapter::load_peft(path)?),
        _ => None,
    };
    let model = load(model, settings, settings.arithmetic)?;
    let base = difference(&model.logits(&rows, None)?, &reference, "logits")?;
    let adapted = adapter
        .map(|adapter| {
            difference(&model.logits(&rows, Some(&adapter))?, &reference, "adapter_logits")
        })
        .transpose()?;
    Ok([Some(base), adapted])
}

fn difference(ours: &[f32], reference: &SafeTensors<'_>, name: &str) -> Result<f32, Error> {
    let view = reference.tensor(name)?;
    if view.dtype() != Dtype::F32 || view.data().len() != 4 * ours.len() {
        return Err(format!(
            "{name} is {:?} of {:?}, expected {} of F32",
            view.dtype(),
            view.shape(),
            ours.len()
        )
        .into());
    }
    let theirs = view.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b));
    // NaN must not pass for agreement.
    Ok(ours
        .iter()
        .zip(theirs)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, |max, d| if d <= max { max } else { d }))
}
