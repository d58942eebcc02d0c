//! The continual protocol for one user: every method learns period after period, and after each one it is scored on the
//! test parts of all periods, which gives its matrix R\[t\]\[i\].
//!
//! All methods run on the same base and the same code path, SPRInG's being [`learn_period`]; what they share is done once
//! ([`Memo`]): the base's scores, training from the same start on the same texts, and scoring with the same adapter.

mod arena;
mod budget;
mod cost;
mod latest;
mod memo;
mod method;
mod record;
mod trajectory;
mod write;

use std::time::Instant;

use spring_core::{
    Config, LanguageModel, Progress, StoredInteraction, UserModel, novelties,
    spring_drift::DetectorConfig, spring_fuse::GateConfig,
};
use spring_lm::{Adapter, Parts};

use crate::{
    Error, Loss, Result, Split,
    compare::score_base,
    loss::{encode, losses},
};
use arena::Arena;
pub(crate) use cost::cost_of;
pub use memo::Memo;
use memo::{Remembering, Watch};
use method::Learn;
pub use method::MethodSpec;
pub use record::{
    Budget, GeneratedText, Generation, MethodRun, PeriodSizes, Protocol, SyntheticScores, UserInput,
    UserOutcome, UserRun,
};
use spring_data::synth::{Detection, Drift, Truth};
use trajectory::Trajectory;
use write::write;

/// Runs every method but `other_user` on one user. `memo` is what earlier runs of this user on this model have computed;
/// it saves time and changes no number.
///
/// # Errors
///
/// What the loop refuses; [`Error::NotEnough`] if a method needs a domain adapter and there is none.
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
    score_base(model, &protocol.config, &mut splits)?;
    let arena = Arena::new(model, memo, protocol, input, &splits)?;
    let reference_spec = MethodSpec::spring();
    let mut reference = Trajectory::new(&reference_spec, model, protocol, input)?;
    let mut others = protocol
        .methods
        .iter()
        .filter(|spec| spec.learn != Learn::OtherUser)
        .map(|spec| Trajectory::new(spec, model, protocol, input))
        .collect::<Result<Vec<_>>>()?;
    let (mut adapters, mut periods, mut all_novelties) = (Vec::new(), Vec::new(), Vec::new());
    for (t, split) in splits.iter().enumerate() {
        reference.learn(&arena, t, None, progress)?;
        adapters.extend(reference.learner.model().adapter().cloned());
        let record = reference.record.as_ref();
        let novel: Vec<f64> = record.map(|record| novelties(record).collect()).unwrap_or_default();
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
            trajectory.learn(&arena, t, Some(&reference), progress)?;
            trajectory.evaluate(&arena, t, &reference, progress)?;
            trajectory.run.seconds += watch.seconds();
        }
    }
    let detection = detection(&splits, &all_novelties)?;
    let methods = others.into_iter().map(|t| (t.spec.name().to_owned(), t.run)).collect();
    Ok(UserOutcome { run: UserRun { user: input.user.clone(), periods, methods, detection }, adapters })
}

/// The method `other_user`: the mean loss of up to three others' adapters, each after the same period; texts are generated
/// with the first of them.
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
    let alone = Config { gate: GateConfig::Never {}, ..config.clone() };
    for t in 0..splits.len() {
        // A user with fewer periods lends the last adapter.
        let adapters: Vec<Option<&Adapter>> =
            others.iter().filter_map(|own| own.get(t).or(own.last())).take(OTHER_USERS).map(Some).collect();
        if adapters.is_empty() {
            return Err(Error::NotEnough("the method other_user needs at least two users".into()));
        }
        let mut row = Vec::new();
        for split in splits {
            let losses = losses(model, &adapters, &encode(model, config, &split.test)?)?;
            let nats = losses.iter().map(|loss| loss.nats).sum::<f64>() / losses.len() as f64;
            row.push(Loss { nats, ..losses[0] });
        }
        run.matrix.push(row);
        let other = UserModel::fresh(model, alone.clone(), adapters[0].cloned())?;
        let written = write(other, &splits[t], generation, progress)?;
        run.generated.extend(written);
        run.selected.push(0);
        run.tokens.push(0);
        run.open.push(0);
    }
    run.seconds = started.elapsed().as_secs_f64();
    Ok(run)
}

/// The loss under other users' adapters is the mean over so many.
const OTHER_USERS: usize = 3;

/// Trains the domain adapter on the first periods of users that are not evaluated.
///
/// # Errors
///
/// [`Error::NotEnough`] without texts; otherwise what the model refuses.
pub fn domain_adapter(
    model: &dyn LanguageModel,
    config: &Config,
    texts: &[StoredInteraction],
    progress: &mut dyn Progress,
) -> Result<Adapter> {
    if texts.is_empty() {
        let reason = "the domain adapter needs texts of users that are not evaluated; evaluate fewer users";
        return Err(Error::NotEnough(reason.into()));
    }
    crate::compare::train_on(model, config, texts, progress)
}

/// The true changes of a synthetic user against the alarms of the default detector over SPRInG's novelties; positions
/// count the training texts.
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
    let core = |error| Error::from(spring_core::Error::from(error));
    let mut detector = DetectorConfig::default().init().map_err(core)?;
    let (mut alarms, mut start) = (Vec::new(), 0);
    for (texts, novel) in novelties {
        for (place, novelty) in novel.iter().enumerate() {
            if detector.update(*novelty).map_err(core)?.is_some() {
                alarms.push(start + place);
            }
        }
        start += texts;
    }
    Ok(Some(Detection::of(&changes, &alarms)))
}

#[cfg(test)]
mod tests;
