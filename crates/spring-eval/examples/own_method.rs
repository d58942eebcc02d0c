//! A method of your own among the built-in ones: an adapter that learns the newest half of each
//! period. `cargo run --example own_method -- MODEL SUITE.toml FOLDER`

use std::{env, error::Error, ops::ControlFlow, path::Path, sync::Arc};

use spring_core::{Config, Progress};
use spring_eval::{
    Answer, Learned, MethodKind, Methods, Period, Result, Strategy, Suite, run_suite,
};
use spring_lm::Adapter;
use spring_model::{AnyModel, Device, ModelFiles};

#[derive(Default)]
struct NewestHalf(Option<Arc<Adapter>>);

impl Strategy for NewestHalf {
    fn prepare(&mut self, _: &mut Config, start: Option<Arc<Adapter>>) -> Result<()> {
        self.0 = start;
        Ok(())
    }

    fn learn(&mut self, period: &Period<'_>, on: &mut dyn Progress) -> Result<Learned> {
        let newest = &period.texts()[period.texts().len() / 2..];
        let trained = period.train(self.0.as_deref(), newest, on)?;
        self.0 = Some(trained.adapter);
        Ok(Learned::of(newest.iter().map(|text| text.seq), trained.tokens))
    }

    fn answer(&self, _: &Period<'_>) -> Result<Answer> {
        Ok(Answer::with_adapter(self.0.clone()))
    }
}

/// Runs a suite with the method in it and gives the table of its results.
pub fn compare(model: &str, suite: &str, folder: &str) -> Result<String, Box<dyn Error>> {
    let mut methods = Methods::default();
    methods.register(MethodKind::new("newest_half", "newest half", NewestHalf::default))?;
    let suite = Suite::from_toml_with(&std::fs::read_to_string(suite)?, suite, &methods)?;
    let model = AnyModel::load(&ModelFiles::from_dir(model)?, Device::Cpu)?;
    let outcome = run_suite(&model, &suite, Path::new(folder), &|_| ControlFlow::Continue(()))?;
    Ok(outcome.summary.csv()?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [model, suite, folder] = arguments.as_slice() else {
        return Err("own_method MODEL SUITE.toml FOLDER, with \"newest_half\" in the suite".into());
    };
    print!("{}", compare(model, suite, folder)?);
    Ok(())
}
