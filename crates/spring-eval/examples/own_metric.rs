//! A metric of your own beside the built-in ones: how near a text comes to the length of the user's
//! own. `cargo run --example own_metric -- MODEL SUITE.toml FOLDER`

use std::{env, error::Error, ops::ControlFlow, path::Path};

use spring_core::Progress;
use spring_eval::{Metric, Result, Suite, Written, run_suite};
use spring_model::{AnyModel, Device, ModelFiles};

struct LengthRatio;

impl Metric for LengthRatio {
    fn score(&self, texts: &[Written<'_>], _: &mut dyn Progress) -> Result<Vec<f64>> {
        let words = |text: &str| text.split_whitespace().count().max(1) as f64;
        let ratio = |text: &Written<'_>| {
            let (own, theirs) = (words(text.answer), words(text.reference));
            own.min(theirs) / own.max(theirs)
        };
        Ok(texts.iter().map(ratio).collect())
    }
}

/// Runs a suite with the metric in it and gives the table of its results.
pub fn compare(model: &str, suite: &str, folder: &str) -> Result<String, Box<dyn Error>> {
    let suite = Suite::load(Path::new(suite))?.with_metric("length_ratio", true, LengthRatio);
    let model = AnyModel::load(&ModelFiles::from_dir(model)?, Device::Cpu)?;
    let outcome = run_suite(&model, &suite, Path::new(folder), &|_| ControlFlow::Continue(()))?;
    Ok(outcome.summary.csv()?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [model, suite, folder] = arguments.as_slice() else {
        return Err("own_metric MODEL SUITE.toml FOLDER, with texts in [generation]".into());
    };
    print!("{}", compare(model, suite, folder)?);
    Ok(())
}
