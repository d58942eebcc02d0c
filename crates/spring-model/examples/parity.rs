//! Compares logits with those of a reference implementation: `cargo xtask parity DIR…`.
//!
//! Each folder holds a model in the Hugging Face layout, `reference.safetensors` with `input_ids`
//! `[rows, length]` and `logits` `[rows, length, vocabulary]`, and perhaps a PEFT folder `adapter`
//! with the reference's `adapter_logits`.

#![allow(clippy::print_stdout)]

use std::{path::Path, process::ExitCode};

use safetensors::{Dtype, SafeTensors};
use spring_model::{Adapter, AnyModel, Device, ModelError, ModelFiles, Precision};

const USAGE: &str = "\
usage: parity [--device cpu|wgpu|cuda] [--precision f32|f16|bf16] [--tolerance X] DIR…

Exit code: 0 when every difference is within the tolerance (1e-4; 0.05 for f16 and for CUDA's \
TF32, 0.3 for bf16), 1 above it or for a folder
that cannot be compared, 2 for a bad command line.";

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

/// Whether all folders agree with their reference.
fn run(mut args: impl Iterator<Item = String>) -> Result<bool, Error> {
    let (mut device, mut precision, mut tolerance) = (Device::Cpu, Precision::F32, None);
    let mut dirs = Vec::new();
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--device" => device = value()?.parse::<Device>()?,
            "--precision" => precision = value()?.parse::<Precision>()?,
            "--tolerance" => tolerance = Some(value()?.parse::<f32>()?),
            flag if flag.starts_with("--") => return Err(format!("unknown flag {flag}").into()),
            _ => dirs.push(arg),
        }
    }
    if dirs.is_empty() {
        return Err("no folder given".into());
    }
    let tolerance = tolerance.unwrap_or(match (precision, device) {
        // Products of float32 are made in TF32 there.
        (Precision::F16, _) | (Precision::F32, Device::Cuda) => 0.05,
        (Precision::F32, _) => 1e-4,
        (Precision::Bf16, _) => 0.3,
    });
    println!("largest difference of a logit, {device}, {precision}; tolerance {tolerance:e}");
    let width = dirs.iter().map(String::len).max().unwrap_or(0).max("folder".len());
    println!("{:<width$}  {:>8}  {:>8}", "folder", "base", "adapter");
    let mut agree = true;
    for dir in dirs {
        match compare(Path::new(&dir), device, precision) {
            Ok([base, adapter]) => {
                let within = |x: Option<f32>| x.is_none_or(|x| x <= tolerance);
                let ok = within(base) && within(adapter);
                agree &= ok;
                let show = |x: Option<f32>| x.map_or("-".into(), |x| format!("{x:.1e}"));
                let word = if ok { "ok" } else { "ABOVE THE TOLERANCE" };
                println!("{dir:<width$}  {:>8}  {:>8}  {word}", show(base), show(adapter));
            }
            Err(error) => {
                agree = false;
                println!("{dir:<width$}  {error}");
            }
        }
    }
    Ok(agree)
}

/// The largest difference without and with the adapter.
fn compare(dir: &Path, device: Device, precision: Precision) -> Result<[Option<f32>; 2], Error> {
    let path = dir.join("reference.safetensors");
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
    let model = AnyModel::load_as(&ModelFiles::from_dir(dir)?, precision, device)?;
    let adapter = match dir.join("adapter") {
        path if path.is_dir() => Some(Adapter::load_peft(path)?),
        _ => None,
    };
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
