//! The comparison of methods on held-out texts: what is the domain, what is the person, what is selection.
//!
//! All methods run on the same base, the same code path and the same texts. After each period every method is scored
//! on that period's held-out texts.

use std::{collections::BTreeMap, ops::ControlFlow, str::FromStr, sync::Mutex, time::Instant};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use spring_core::{
    ColdStart, Config, Event, LanguageModel, Learner, Progress, StoredInteraction, UserModel, key,
    mean_log_likelihood,
    spring_drift::{ScoreStatistics, ScorerConfig, Selection},
    spring_fuse::GateConfig,
    spring_memory::UserId,
};
use spring_lm::{Adapter, Sequence, TrainRequest};

use crate::{
    Error, FusedLoss, Loss, Result, Split, SplitConfig,
    loss::{encode, fused_loss, losses},
    split, stored,
};
use spring_data::Stream;

/// A way to personalize, or not to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// The frozen base.
    Base,
    /// One adapter, trained on the first periods of users that are not evaluated.
    Domain,
    /// SPRInG's adapter of another evaluated user after the same period; the mean over up to three.
    OtherUser,
    /// The adapter of the first period, never updated.
    Static,
    /// Every period learned whole, one after the other.
    Everything,
    /// As many texts as SPRInG selects, drawn at random.
    Random,
    /// SPRInG's adapter, without retrieval.
    SpringAdapter,
    /// SPRInG as it generates: the gated mixture.
    Spring,
    /// SPRInG's adapter with a mixture whose gate is always open.
    SpringUngated,
}

impl Method {
    /// All of them, in the order of a table.
    pub const ALL: [Self; 9] = [
        Self::Base,
        Self::Domain,
        Self::OtherUser,
        Self::Static,
        Self::Everything,
        Self::Random,
        Self::SpringAdapter,
        Self::Spring,
        Self::SpringUngated,
    ];

    /// The name in arguments and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Domain => "domain",
            Self::OtherUser => "other_user",
            Self::Static => "static",
            Self::Everything => "everything",
            Self::Random => "random",
            Self::SpringAdapter => "spring_adapter",
            Self::Spring => "spring",
            Self::SpringUngated => "spring_ungated",
        }
    }

    /// The name in tables.
    pub fn label(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Domain => "domain adapter",
            Self::OtherUser => "another user's",
            Self::Static => "static (period 1)",
            Self::Everything => "everything",
            Self::Random => "random, same count",
            Self::SpringAdapter => "SPRInG, adapter only",
            Self::Spring => "SPRInG",
            Self::SpringUngated => "SPRInG, gate always open",
        }
    }
}

impl FromStr for Method {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        Self::ALL.into_iter().find(|method| method.name() == name).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|method| method.name()).collect();
            format!("{name:?} is none of {}", names.join(", "))
        })
    }
}

/// What one period gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeriodComparison {
    /// The period.
    pub period: u32,
    /// Texts that could be learned.
    pub train: usize,
    /// Texts that SPRInG learned.
    pub selected: usize,
    /// Held-out texts.
    pub test: usize,
    /// Held-out texts left out as near-duplicates of training texts.
    pub dropped: usize,
    /// Loss of each method.
    pub loss: BTreeMap<Method, Loss>,
    /// The texts whose gate was open: mixture against adapter.
    pub gate: FusedLoss,
    /// How SPRInG's score spread and correlated.
    pub statistics: ScoreStatistics,
    /// Response tokens that SPRInG trained on, over all epochs.
    pub spring_tokens: usize,
    /// The same for training on everything.
    pub everything_tokens: usize,
}

/// What one user's stream gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UserComparison {
    /// The user.
    pub user: UserId,
    /// Texts in all.
    pub texts: usize,
    /// Period by period.
    pub periods: Vec<PeriodComparison>,
}

/// The whole comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The method's settings.
    pub config: Config,
    /// How the streams were cut.
    pub split: SplitConfig,
    /// Users whose first periods the domain adapter learned, and their texts; 0 when there were none.
    pub domain_users: usize,
    /// Texts that the domain adapter learned.
    pub domain_texts: usize,
    /// User by user.
    pub users: Vec<UserComparison>,
    /// Seconds of wall time.
    pub seconds: f64,
}

impl Comparison {
    /// A method's loss over some of the results; `None` if it was not run.
    pub fn total(
        &self,
        method: Method,
        keep: impl Fn(&UserComparison, &PeriodComparison) -> bool,
    ) -> Option<Loss> {
        let losses: Vec<Loss> = self
            .users
            .iter()
            .flat_map(|user| user.periods.iter().map(move |period| (user, period)))
            .filter(|(user, period)| keep(user, period))
            .filter_map(|(_, period)| period.loss.get(&method).copied())
            .collect();
        (!losses.is_empty()).then(|| losses.into_iter().sum())
    }
}

/// The loss under other users' adapters is the mean over so many.
const OTHER_USERS: usize = 3;

/// SPRInG's adapter after every period of a user.
type History = Vec<Adapter>;

/// What is compared, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The method's settings.
    pub config: Config,
    /// How the streams are cut.
    pub split: SplitConfig,
    /// The methods; SPRInG's adapter is always trained, as the others are measured against it.
    pub methods: Vec<Method>,
}

impl Plan {
    fn wants(&self, method: Method) -> bool {
        self.methods.contains(&method)
    }
}

/// Runs the comparison for `evaluated`; `others` are the users that the domain adapter learns from.
///
/// Users run side by side on rayon's threads; the result does not depend on how many there are.
///
/// # Errors
///
/// [`Error::NotEnough`] if nothing is held out; otherwise what the loop refuses.
pub fn compare(
    model: &dyn LanguageModel,
    plan: &Plan,
    evaluated: &[Stream],
    others: &[Stream],
    progress: &mut (dyn Progress + Send),
) -> Result<Comparison> {
    let started = Instant::now();
    let (config, split_config) = (&plan.config, plan.split);
    let domain = match plan.wants(Method::Domain) {
        true => domain_adapter(model, plan, others, progress)?,
        false => None,
    };
    let progress = Mutex::new(progress);
    let runs = evaluated
        .par_iter()
        .map(|stream| {
            let mut splits = split(&stored(stream), split_config);
            if splits.iter().all(|s| s.test.is_empty()) {
                let reason = format!("user {}: {} texts hold nothing out", stream.user, stream.texts.len());
                return Err(Error::NotEnough(reason));
            }
            score_base(model, config, &mut splits)?;
            let mut shared = |event: Event<'_>| match progress.lock() {
                Ok(mut progress) => progress.on(event),
                Err(_) => ControlFlow::Break(()),
            };
            let (periods, history) =
                run_user(model, plan, &stream.user, &splits, domain.as_ref(), &mut shared)?;
            let user = UserComparison { user: stream.user.clone(), texts: stream.texts.len(), periods };
            Ok((user, history, splits))
        })
        .collect::<Result<Vec<_>>>()?;
    let (mut users, mut histories, mut tests) = (Vec::new(), Vec::new(), Vec::new());
    for (user, history, splits) in runs {
        users.push(user);
        histories.push(history);
        tests.push(splits);
    }
    for (u, user) in users.iter_mut().enumerate().filter(|_| plan.wants(Method::OtherUser)) {
        let foreign: Vec<&History> = (1..histories.len())
            .map(|step| &histories[(u + step) % histories.len()])
            .take(OTHER_USERS)
            .collect();
        for (period, split) in user.periods.iter_mut().zip(&tests[u]) {
            let index = period.period as usize - 1;
            let adapters: Vec<Option<&Adapter>> =
                foreign.iter().filter_map(|h| h.get(index)).map(Some).collect();
            if adapters.is_empty() || split.test.is_empty() {
                continue;
            }
            let losses = losses(model, &adapters, &encode(model, config, &split.test)?)?;
            let count = losses.len() as f64;
            let mean = losses.iter().map(|loss| loss.nats).sum::<f64>() / count;
            period.loss.insert(Method::OtherUser, Loss { nats: mean, ..losses[0] });
        }
    }
    let (domain_users, domain_texts) = match domain {
        Some(_) => (others.len(), others.iter().map(|s| first_period(s, split_config).len()).sum()),
        None => (0, 0),
    };
    Ok(Comparison {
        config: config.clone(),
        split: split_config,
        domain_users,
        domain_texts,
        users,
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// The base's log-likelihood of every training text that has none yet, once for all methods.
pub(crate) fn score_base(model: &dyn LanguageModel, config: &Config, splits: &mut [Split]) -> Result<()> {
    for split in splits {
        let unscored: Vec<usize> =
            (0..split.train.len()).filter(|place| split.train[*place].base.is_none()).collect();
        let texts: Vec<StoredInteraction> =
            unscored.iter().map(|place| split.train[*place].clone()).collect();
        let encoded = encode(model, config, &texts)?;
        let rows: Vec<_> = encoded.iter().map(|text| (&text.sequence, None)).collect();
        let scores = model.score(&rows).map_err(spring_core::Error::from)?;
        for (place, tokens) in unscored.into_iter().zip(scores) {
            split.train[place].base = Some(mean_log_likelihood(&tokens));
        }
    }
    Ok(())
}

fn first_period(stream: &Stream, config: SplitConfig) -> Vec<StoredInteraction> {
    split(&stored(stream), config).into_iter().next().map(|split| split.train).unwrap_or_default()
}

fn domain_adapter(
    model: &dyn LanguageModel,
    plan: &Plan,
    others: &[Stream],
    progress: &mut dyn Progress,
) -> Result<Option<Adapter>> {
    let config = &plan.config;
    let texts: Vec<StoredInteraction> = others.iter().flat_map(|s| first_period(s, plan.split)).collect();
    if texts.is_empty() {
        return Ok(None);
    }
    train_on(model, config, &texts, progress).map(Some)
}

/// One adapter, trained from the start on all of some users' texts.
pub(crate) fn train_on(
    model: &dyn LanguageModel,
    config: &Config,
    texts: &[StoredInteraction],
    progress: &mut dyn Progress,
) -> Result<Adapter> {
    let examples: Vec<Sequence> = encode(model, config, texts)?.into_iter().map(|e| e.sequence).collect();
    let seed = key::seed(config.seed, "domain", 1, "adapter");
    let request = TrainRequest::new(&config.lora, &examples, &config.training, seed);
    let outcome = model.train(request, &mut |step| {
        progress.on(Event::Training { done: step.done, steps: step.steps, loss: step.loss })
    });
    Ok(outcome.map_err(spring_core::Error::from)?.adapter)
}

fn run_user(
    model: &dyn LanguageModel,
    plan: &Plan,
    user: &UserId,
    splits: &[Split],
    domain: Option<&Adapter>,
    progress: &mut dyn Progress,
) -> Result<(Vec<PeriodComparison>, History)> {
    let config = &plan.config;
    let fresh = || -> Result<Learner<'_>> {
        Ok(Learner::new(user.clone(), UserModel::fresh(model, config.clone(), None)?, vec![]))
    };
    let [mut spring, mut everything, mut random] = [fresh()?, fresh()?, fresh()?];
    let mut learn_all = config.clone();
    learn_all.drift.selection = Selection::All {};
    learn_all.drift.cold_start = ColdStart::All;
    let mut learn_some = config.clone();
    let ungated = Config { gate: GateConfig::Always { k: 2 }, ..config.clone() };
    let (mut periods, mut history, mut first): (Vec<_>, History, Option<Adapter>) = (vec![], vec![], None);
    everything.set_config(learn_all.clone());
    for split in splits {
        let record = spring.learn(split.learnable(), progress)?.record;
        let (selected, spring_tokens) = (record.selection.selected, record.update.tokens);
        let mut everything_tokens = 0;
        if first.is_none() {
            first = spring.model().adapter().cloned();
            // The first period is the same work for all that learn it: same texts, same seed.
            random.clone_from(&spring);
            if selected == split.train.len() {
                everything.clone_from(&spring);
                everything.set_config(learn_all.clone());
                everything_tokens = spring_tokens;
            } else if plan.wants(Method::Everything) {
                everything_tokens = everything.learn(split.learnable(), progress)?.record.update.tokens;
            }
        } else {
            if plan.wants(Method::Everything) {
                everything_tokens = everything.learn(split.learnable(), progress)?.record.update.tokens;
            }
            if plan.wants(Method::Random) {
                let seed = key::seed(config.seed, user.as_str(), split.period, "random selection");
                learn_some.drift.scorer = ScorerConfig::Random { seed };
                learn_some.drift.selection = Selection::TopCount { count: selected };
                random.set_config(learn_some.clone());
                random.learn(split.learnable(), progress)?;
            }
        }
        history.extend(spring.model().adapter().cloned());
        let mut period = PeriodComparison {
            period: split.period,
            train: split.train.len(),
            selected,
            test: split.test.len(),
            dropped: split.dropped,
            loss: BTreeMap::new(),
            gate: FusedLoss::default(),
            statistics: record.statistics,
            spring_tokens,
            everything_tokens,
        };
        if !split.test.is_empty() {
            let encoded = encode(model, config, &split.test)?;
            let adapters: Vec<(Method, Option<&Adapter>)> = [
                (Method::Base, None),
                (Method::Domain, domain),
                (Method::Static, first.as_ref()),
                (Method::Everything, everything.model().adapter()),
                (Method::Random, random.model().adapter()),
                (Method::SpringAdapter, spring.model().adapter()),
            ]
            .into_iter()
            .filter(|(method, adapter)| plan.wants(*method) && (adapter.is_some() || *method == Method::Base))
            .collect();
            let all: Vec<Option<&Adapter>> = adapters.iter().map(|(_, adapter)| *adapter).collect();
            for ((method, _), loss) in adapters.iter().zip(losses(model, &all, &encoded)?) {
                period.loss.insert(*method, loss);
            }
            let texts: Vec<_> = split.test.iter().zip(&encoded).collect();
            if plan.wants(Method::Spring) {
                period.gate = fused_loss(spring.model(), &texts)?;
                period.loss.insert(Method::Spring, period.gate.fused);
            }
            if plan.wants(Method::SpringUngated) {
                let open = spring.model().clone().with_config(ungated.clone());
                let open = fused_loss(&open, &texts)?;
                period.loss.insert(Method::SpringUngated, open.fused);
            }
        }
        periods.push(period);
    }
    Ok((periods, history))
}
