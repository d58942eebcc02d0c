//! `spring eval metrics`

use anyhow::{Context, Result};
use serde::Serialize;
use spring_metrics::{label_scores, number_scores, read_string_pairs, score_files};

use crate::{
    args::{Args, MetricKind, MetricsArgs},
    files, output,
};

pub fn run(args: &Args, command: &MetricsArgs) -> Result<()> {
    let MetricsArgs { predictions, references, kind } = command;
    files::plain(predictions)?;
    files::plain(references)?;
    match kind {
        MetricKind::Texts => print(args, &score_files(predictions, references)?),
        MetricKind::Labels => {
            let (predicted, expected) = read_string_pairs(predictions, references)?;
            print(args, &label_scores(&predicted, &expected))
        }
        MetricKind::Numbers => {
            let (predicted, expected) = read_string_pairs(predictions, references)?;
            let scores = number_scores(&predicted, &expected).with_context(|| {
                format!("{}: a reference is not a number", references.display())
            })?;
            print(args, &scores)
        }
    }
}

fn print(args: &Args, scores: &impl Serialize) -> Result<()> {
    if args.json {
        return output::json(scores);
    }
    let mut table = output::table(&["metric", "mean"], &[]);
    for (name, value) in serde_json::to_value(scores)?.as_object().into_iter().flatten() {
        let value = value.as_f64().map_or("–".into(), |value| format!("{value:.4}"));
        table.add_row([name.clone(), value]);
    }
    output::line(&table.to_string())
}
