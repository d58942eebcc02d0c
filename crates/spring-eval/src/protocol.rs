//! The continual protocol for one user: every method learns period after period, and after each one
//! it is scored on the test parts of all periods, which gives its matrix R\[t\]\[i\].
//!
//! All methods run on the same base and the same code path; what they share is done once
//! ([`Memo`]): the base's scores, training from the same start on the same texts, and scoring with
//! the same adapter.

mod answers;
mod arena;
mod budget;
mod domain;
mod evaluate;
mod input;
mod leader;
mod lent;
mod memo;
mod method;
mod strategy;
#[cfg(test)]
mod tests;
mod trajectory;
mod write;

use std::{collections::BTreeMap, time::Instant};

use spring_core::{LanguageModel, Progress, novelties, spring_drift::DetectorConfig};
use spring_data::synth::{Detection, Drift, Truth};
use spring_lm::Parts;

use crate::{MethodRun, PeriodSizes, Result, Split, UserRun};
use answers::answers;
use arena::Arena;
pub use domain::domain_adapter;
use domain::score_base;
pub use input::{Protocol, UserInput, UserOutcome};
use leader::{Lender, Lenders};
pub use lent::{run_other_user, run_other_user_reading};
pub use memo::Memo;
use memo::{Remembering, Watch};
pub use method::{Method, MethodKind, Methods};
pub use strategy::{
    Answer, Domain, FromTexts, Frozen, Learned, Period, Prompt, Spring, Strategy, Trained,
};
use trajectory::Trajectory;
pub(crate) use write::asked;

/// Runs every method but `other_user` on one user; of `other_user+retrieval` it says what is read
/// ([`UserOutcome::banks`]). `memo` is what earlier runs of this user on this model have computed;
/// it saves time and changes no number.
///
/// # Errors
///
/// What the loop refuses; [`Error::NotEnough`](crate::Error::NotEnough) if a method needs a domain
/// adapter and there is none.
pub fn run_user(
    model: &dyn LanguageModel,
    protocol: &Protocol,
    input: UserInput<'_>,
    memo: &Memo,
    progress: &mut dyn Progress,
) -> Result<UserOutcome> {
    let remembering = Remembering { model, memo };
    let model = &Parts::of(model).with_score(&remembering).with_train(&remembering);
    let mut splits = input.splits.to_vec();
    // First: a program that fails costs no training.
    let mut methods = programs(protocol, input, progress)?;
    score_base(model, &protocol.config, &mut splits)?;
    let arena = Arena::new(model, memo, protocol, input, &splits)?;
    let mut lenders = Lenders::new(protocol, input)?;
    let mut others = protocol
        .methods
        .iter()
        .filter(|method| !method.is_of_others())
        .filter_map(|method| Some((method, method.strategy()?)))
        .map(|(method, strategy)| Trajectory::new(method, strategy, protocol, input, &mut lenders))
        .collect::<Result<Vec<_>>>()?;
    let with_others = protocol.methods.iter().filter(|m| m.is_of_others() && m.has_lent_bank());
    let with_others: Vec<(&Method, Lender)> = with_others
        .map(|method| Ok((method, lenders.of(method, protocol, input)?)))
        .collect::<Result<_>>()?;
    let mut banks: BTreeMap<String, Vec<Vec<u64>>> = BTreeMap::new();
    let (mut adapters, mut periods, mut all_novelties) = (Vec::new(), Vec::new(), Vec::new());
    for (place, split) in splits.iter().enumerate() {
        let record = lenders.learn(&arena, place, progress)?;
        adapters.extend(lenders.leader.adapter().cloned());
        for (method, lender) in &with_others {
            let texts = lenders.texts(*lender, &splits[..=place]);
            banks.entry(method.name().to_owned()).or_default().push(texts);
        }
        let novel: Vec<f64> = record.iter().flat_map(novelties).collect();
        let novelty = (!novel.is_empty()).then(|| novel.iter().sum::<f64>() / novel.len() as f64);
        all_novelties.push((split.train.len(), novel));
        periods.push(PeriodSizes {
            train: split.train.len(),
            test: split.test.len(),
            dropped: split.dropped,
            novelty,
        });
        for trajectory in &mut others {
            let watch = Watch::start(memo);
            trajectory.run_period(&arena, place, &lenders, progress)?;
            trajectory.run.seconds += watch.seconds();
        }
    }
    methods.extend(others.into_iter().map(|t| (t.method.name().to_owned(), t.run)));
    let detection = detection(&splits, &all_novelties)?;
    let (user, turn) = (input.user.clone(), arena.turn);
    let run = UserRun { user, periods, methods, detection, turn };
    Ok(UserOutcome { run, adapters, banks })
}

/// The methods that are programs: they have texts and no losses.
fn programs(
    protocol: &Protocol,
    input: UserInput<'_>,
    progress: &mut dyn Progress,
) -> Result<BTreeMap<String, MethodRun>> {
    let programs = protocol.methods.iter().filter_map(|m| Some((m.name(), m.program()?)));
    let runs = programs.map(|(name, program)| {
        let started = Instant::now();
        let asked = |place: usize| asked(&input.splits[place], protocol.generation);
        let generated = answers(program, protocol, input, asked, progress)?;
        let seconds = started.elapsed().as_secs_f64();
        Ok((name.to_owned(), MethodRun { generated, seconds, ..MethodRun::default() }))
    });
    runs.collect()
}

/// The true changes of a stream, where they are known, against the alarms of the default detector
/// over SPRInG's novelties; positions count the training texts.
fn detection(splits: &[Split], novelties: &[(usize, Vec<f64>)]) -> Result<Option<Detection>> {
    let truths: Vec<Truth> = splits
        .iter()
        .flat_map(|split| &split.train)
        .filter_map(|text| Truth::of(&text.interaction))
        .collect();
    let Some(first) = truths.first() else { return Ok(None) };
    let drift = first.drift;
    // A gradual change begins with the first text of the other style, and then only goes on.
    let mut changes: Vec<usize> = Vec::new();
    let mut style = first.style;
    for (place, truth) in truths.iter().enumerate().filter(|(_, truth)| truth.noise.is_none()) {
        if truth.style != style && (drift != Drift::Gradual || changes.is_empty()) {
            changes.push(place);
        }
        style = truth.style;
    }
    let mut detector = DetectorConfig::default().init().map_err(spring_core::Error::from)?;
    let (mut alarms, mut start) = (Vec::new(), 0);
    for (texts, novel) in novelties {
        for (place, novelty) in novel.iter().enumerate() {
            if detector.update(*novelty).map_err(spring_core::Error::from)?.is_some() {
                alarms.push(start + place);
            }
        }
        start += texts;
    }
    Ok(Some(Detection::of(&changes, &alarms)))
}
