//! The method `other_user`: SPRInG's adapters of others, lent.

use std::time::Instant;

use spring_core::{Config, LanguageModel, Progress, UserModel, spring_fuse::GateConfig};
use spring_lm::Adapter;

use super::write::write;
use crate::{
    Error, Generation, Loss, MethodRun, Result, Split,
    loss::{encode, fused_loss, losses},
};

/// Users whose adapters are lent; the loss is the mean over theirs.
const OTHER_USERS: usize = 3;

/// The method `other_user`: the mean loss of up to three others' adapters, each after the same
/// period; texts are generated with the first of them.
///
/// # Errors
///
/// If the model refuses a text or an adapter.
pub fn run_other_user(
    model: &dyn LanguageModel,
    config: &Config,
    splits: &[Split],
    others: &[Vec<Adapter>],
    generation: Generation,
    progress: &mut dyn Progress,
) -> Result<MethodRun> {
    let started = Instant::now();
    let mut run = MethodRun::default();
    let alone = config.clone().with_gate(GateConfig::Never {});
    for t in 0..splits.len() {
        // A user with fewer periods lends the last adapter.
        let adapters: Vec<Option<&Adapter>> = others
            .iter()
            .filter_map(|own| own.get(t).or(own.last()))
            .take(OTHER_USERS)
            .map(Some)
            .collect();
        if adapters.is_empty() {
            return Err(Error::NotEnough("the method other_user needs at least two users".into()));
        }
        let mut row = Vec::new();
        for split in splits {
            let tests = encode(model, config, &split.test)?;
            let losses = match config.fusion.contrasting() {
                None => losses(model, &adapters, &tests)?,
                Some(_) => {
                    let texts: Vec<_> = split.test.iter().zip(&tests).collect();
                    let contrasted = |adapter: &Option<&Adapter>| {
                        let other = UserModel::fresh(model, alone.clone(), adapter.cloned())?;
                        Ok(fused_loss(&other, &texts)?.fused)
                    };
                    adapters.iter().map(contrasted).collect::<Result<Vec<Loss>>>()?
                }
            };
            let nats = losses.iter().map(|loss| loss.nats).sum::<f64>() / losses.len() as f64;
            row.push(Loss { nats, ..losses[0] });
        }
        run.matrix.push(row);
        let other = UserModel::fresh(model, alone.clone(), adapters[0].cloned())?;
        let written = write(other, &splits[..=t], generation, progress)?;
        run.generated.extend(written);
        run.selected.push(0);
        run.tokens.push(0);
        run.open.push(0);
    }
    run.seconds = started.elapsed().as_secs_f64();
    Ok(run)
}
