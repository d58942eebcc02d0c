//! `scores.jsonl`: what the suite's own metrics say of generated texts. A text is scored once,
//! however a run grows.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    sync::Mutex,
};

use serde::{Deserialize, Serialize};
use spring_core::Progress;
use spring_numerics::digest::Digest;

use super::{
    Suite,
    folder::{append, append_line, read_lines},
};
use crate::{Error, GeneratedText, Result, RunKey, RunLine, SuiteMetric, Written};

/// One line of the file: a metric's scores of what a method wrote in a run.
#[derive(Serialize, Deserialize)]
struct ScoreLine {
    #[serde(flatten)]
    key: RunKey,
    method: String,
    metric: String,
    /// A digest of the metric's command and of the files that it names.
    program: String,
    /// A digest of what was scored.
    texts: String,
    /// In the order of the texts.
    scores: Vec<f64>,
}

fn path(folder: &Path) -> std::path::PathBuf {
    folder.join("scores.jsonl")
}

pub(super) fn digest_of(texts: &[GeneratedText]) -> String {
    let mut digest = Digest::new();
    for part in texts.iter().flat_map(|text| [&text.predicted, &text.written]) {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    digest.hex()
}

/// What is known of the texts of some runs, put beside their other numbers: the latest score of
/// each, by whichever program.
pub(super) fn known(suite: &Suite, folder: &Path, lines: &mut [RunLine]) -> Result<()> {
    let wanted: HashSet<&str> = suite.metrics.iter().map(|metric| metric.name.as_str()).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let mut found: HashMap<RunKey, Vec<ScoreLine>> = HashMap::new();
    for line in read_lines::<ScoreLine>(&path(folder))? {
        if wanted.contains(line.metric.as_str()) {
            found.entry(line.key.clone()).or_default().push(line);
        }
    }
    for line in lines {
        for scored in found.remove(&line.key).unwrap_or_default() {
            let Some(run) = line.run.methods.get_mut(&scored.method) else { continue };
            if scored.texts == digest_of(&run.generated) {
                run.metrics.extend(mean(&scored.scores).map(|mean| (scored.metric, mean)));
            }
        }
    }
    Ok(())
}

fn mean(scores: &[f64]) -> Option<f64> {
    (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / scores.len() as f64)
}

/// The texts of a method in a run that have no score by a metric.
struct Missing<'r> {
    key: &'r RunKey,
    method: &'r str,
    generated: &'r [GeneratedText],
    prompts: &'r [&'r str],
}

/// Scores what has no score yet; `methods` are those that are shown, and `prompts` those that were
/// answered in each run.
pub(super) fn measure(
    suite: &Suite,
    folder: &Path,
    methods: &HashSet<String>,
    prompts: &HashMap<&RunKey, Vec<&str>>,
    lines: &mut [RunLine],
    progress: &mut dyn Progress,
) -> Result<()> {
    if suite.metrics.is_empty() {
        return Ok(());
    }
    let there = read_lines::<ScoreLine>(&path(folder))?;
    let id = |line: &ScoreLine| (line.metric.clone(), line.program.clone(), line.texts.clone());
    let known: HashSet<(RunKey, String, _)> =
        there.iter().map(|line| (line.key.clone(), line.method.clone(), id(line))).collect();
    let file = Mutex::new(append(&path(folder))?);
    for metric in &suite.metrics {
        let program = metric.identity();
        let is_known = |key: &RunKey, method: &str, texts: &[GeneratedText]| {
            let id = (metric.name.clone(), program.clone(), digest_of(texts));
            known.contains(&(key.clone(), method.to_owned(), id))
        };
        let mut missing = Vec::new();
        for line in lines.iter() {
            let Some(prompts) = prompts.get(&line.key) else { continue };
            for (method, run) in &line.run.methods {
                let generated = run.generated.as_slice();
                if !methods.contains(method)
                    || generated.is_empty()
                    || is_known(&line.key, method, generated)
                {
                    continue;
                }
                missing.push(Missing { key: &line.key, method, generated, prompts });
            }
        }
        if !missing.is_empty() {
            score(metric, &program, &missing, &file, progress)?;
        }
    }
    self::known(suite, folder, lines)
}

fn score(
    metric: &SuiteMetric,
    program: &str,
    missing: &[Missing<'_>],
    file: &Mutex<std::fs::File>,
    progress: &mut dyn Progress,
) -> Result<()> {
    let mut texts: Vec<Written<'_>> = Vec::new();
    for Missing { key, method, generated, prompts } in missing {
        if prompts.len() != generated.len() {
            let (texts, prompts) = (generated.len(), prompts.len());
            let reason = format!(
                "{}, {method}: {texts} texts to {prompts} prompts; the folder's runs.jsonl is \
                 damaged",
                key.name()
            );
            return Err(Error::Metric { name: metric.name.clone(), reason });
        }
        texts.extend(generated.iter().zip(prompts.iter()).map(|(text, prompt)| Written {
            user: &key.user,
            prompt,
            reference: &text.written,
            answer: &text.predicted,
        }));
    }
    let scores = metric.score(&texts, progress)?;
    let mut rest = scores.as_slice();
    for Missing { key, method, generated, .. } in missing {
        let (own, later) = rest.split_at(generated.len());
        rest = later;
        let line = ScoreLine {
            key: (*key).clone(),
            method: (*method).to_owned(),
            metric: metric.name.clone(),
            program: program.to_owned(),
            texts: digest_of(generated),
            scores: own.to_vec(),
        };
        append_line(file, &line)?;
    }
    Ok(())
}
