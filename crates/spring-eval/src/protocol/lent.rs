//! The methods `other_user` and `other_user+retrieval`: SPRInG's adapters of others, lent.

use std::time::Instant;

use spring_core::{
    Config, EmbeddingMap, LanguageModel, Memories, Progress, RetrievalBank, StoredInteraction,
    UserModel,
    spring_fuse::{Calibration, GateConfig},
};
use spring_lm::Adapter;

use super::write::write;
use crate::{
    Error, FusedLoss, Generation, Loss, MethodRun, Result, Split,
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
        let adapters: Vec<Option<&Adapter>> = lent(others, t)?.into_iter().map(Some).collect();
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
            row.push(mean(&losses));
        }
        run.matrix.push(row);
        run.open.push(0);
        let other = UserModel::fresh(model, alone.clone(), adapters[0].cloned())?;
        learned_nothing(&mut run);
        run.generated.extend(write(other, &splits[..=t], generation, progress)?);
    }
    run.seconds = started.elapsed().as_secs_f64();
    Ok(run)
}

/// The method `other_user+retrieval`: the same with a bank of the user's own, read through gate and
/// mixture by `config`. `bank` are the sequence numbers of its texts after each period
/// ([`UserOutcome::banks`](crate::UserOutcome::banks)).
///
/// # Errors
///
/// If the model refuses a text or an adapter; [`Error::NotEnough`] if the bank is of other periods
/// than the splits.
pub fn run_other_user_reading(
    model: &dyn LanguageModel,
    config: &Config,
    splits: &[Split],
    bank: &[Vec<u64>],
    others: &[Vec<Adapter>],
    generation: Generation,
    progress: &mut dyn Progress,
) -> Result<MethodRun> {
    let started = Instant::now();
    let mut run = MethodRun::default();
    for (t, split) in splits.iter().enumerate() {
        let texts =
            bank.get(t).and_then(|keys| texts_of(keys, &splits[..=t])).ok_or_else(|| {
                let reason = format!(
                    "the bank of period {} has texts of other periods; run the user again",
                    split.period
                );
                Error::NotEnough(reason)
            })?;
        let bank = RetrievalBank::of(model, config, texts, &EmbeddingMap::new())?;
        let sample = bank.calibration(model)?;
        let mut people = Vec::new();
        for adapter in lent(others, t)? {
            let gains = bank.gains(model, config, Some(adapter))?;
            let calibration = Calibration::new(sample.clone()).with_gains(gains);
            let adapter = Some(adapter.clone().into());
            let memories = Memories { adapter, calibration, ..Memories::default() };
            people.push(UserModel::new(model, config.clone(), memories, bank.clone()));
        }
        let mut rows = Vec::new();
        for split in splits {
            let tests = encode(model, config, &split.test)?;
            let texts: Vec<_> = split.test.iter().zip(&tests).collect();
            let losses = people.iter().map(|person| fused_loss(person, &texts));
            rows.push(losses.collect::<Result<Vec<FusedLoss>>>()?);
        }
        let row = |of: fn(&FusedLoss) -> Loss| -> Vec<Loss> {
            rows.iter().map(|losses| mean(&losses.iter().map(of).collect::<Vec<_>>())).collect()
        };
        run.matrix.push(row(|loss| loss.fused));
        run.adapter_matrix.push(row(FusedLoss::adapter));
        // Of the first, who writes: a gate that is calibrated by use is another one for each.
        run.open.push(rows[t][0].open_fused.texts);
        learned_nothing(&mut run);
        let first = people.swap_remove(0);
        run.generated.extend(write(first, &splits[..=t], generation, progress)?);
    }
    run.seconds = started.elapsed().as_secs_f64();
    Ok(run)
}

/// The adapters that are lent in a period, at least one; a user with fewer periods lends the last.
fn lent(others: &[Vec<Adapter>], t: usize) -> Result<Vec<&Adapter>> {
    let adapters = others.iter().filter_map(|own| own.get(t).or(own.last()));
    let adapters: Vec<&Adapter> = adapters.take(OTHER_USERS).collect();
    match adapters.is_empty() {
        true => Err(Error::NotEnough("the method other_user needs at least two users".into())),
        false => Ok(adapters),
    }
}

/// Texts that could be learned so far, by their sequence numbers.
fn texts_of(keys: &[u64], so_far: &[Split]) -> Option<Vec<StoredInteraction>> {
    let all = so_far.iter().flat_map(|split| &split.train);
    keys.iter().map(|key| all.clone().find(|text| text.seq == *key).cloned()).collect()
}

/// Losses on the same texts, averaged.
fn mean(losses: &[Loss]) -> Loss {
    let nats = losses.iter().map(|loss| loss.nats).sum::<f64>() / losses.len() as f64;
    Loss { nats, ..losses[0] }
}

fn learned_nothing(run: &mut MethodRun) {
    run.selected.push(0);
    run.tokens.push(0);
}
