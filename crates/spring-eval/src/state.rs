//! A user's state, evaluated on the texts that were held out of it.

use serde::{Deserialize, Serialize};
use spring_core::{LanguageModel, Store, StoredInteraction, UserModel, spring_memory::UserId};
use spring_lm::Adapter;
use spring_metrics::{Interval, bootstrap};

use crate::{
    FusedLoss, Loss, Result,
    loss::{encode, fused_loss, losses},
    split::drop_near_duplicates,
};

/// Losses on the held-out texts of one period, right after it was learned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PeriodLosses {
    /// The period.
    pub period: u32,
    /// Held-out texts left out as near-duplicates of training texts.
    pub dropped: usize,
    /// The frozen base.
    pub base: Loss,
    /// The adapter of the first period, never updated.
    pub static_adapter: Loss,
    /// SPRInG's adapter alone.
    pub adapter: Loss,
    /// SPRInG as it generates: the gated mixture.
    pub spring: FusedLoss,
}

impl PeriodLosses {
    /// Of one period, without near-duplicates.
    pub fn new(
        period: u32,
        base: Loss,
        static_adapter: Loss,
        adapter: Loss,
        spring: FusedLoss,
    ) -> Self {
        Self { period, dropped: 0, base, static_adapter, adapter, spring }
    }
}

/// Evaluates every learned period of a user on its held-out texts; periods that hold none are left
/// out.
///
/// # Errors
///
/// If the state cannot be read or the model refuses a text.
pub fn evaluate_state(
    model: &dyn LanguageModel,
    store: &Store,
    user: &UserId,
) -> Result<Vec<PeriodLosses>> {
    let config = &store.settings().config;
    let learned = store.period_records(user, None)?;
    let mut training = Vec::new();
    for period in &learned {
        let members = store.members(user, period.record.period)?;
        training.extend(
            members.into_iter().filter(|member| !member.held_out).map(|member| member.stored),
        );
    }
    let mut results = Vec::new();
    let mut first: Option<Adapter> = None;
    for learned in learned {
        let period = learned.record.period;
        let person = UserModel::recall(model, store, user, Some(learned.generation))?;
        if first.is_none() {
            first = person.adapter().cloned();
        }
        let members = store.members(user, period)?;
        let mut held_out: Vec<StoredInteraction> = members
            .into_iter()
            .filter(|member| member.held_out)
            .map(|member| member.stored)
            .collect();
        let dropped = drop_near_duplicates(&mut held_out, &training.iter().collect::<Vec<_>>());
        if held_out.is_empty() {
            continue;
        }
        let encoded = encode(model, config, &held_out)?;
        let adapters = [None, first.as_ref(), person.adapter()];
        let scored = losses(model, &adapters, &encoded)?;
        let texts: Vec<_> = held_out.iter().zip(&encoded).collect();
        results.push(PeriodLosses {
            period,
            dropped,
            base: scored[0],
            static_adapter: scored[1],
            adapter: scored[2],
            spring: fused_loss(&person, &texts)?,
        });
    }
    Ok(results)
}

/// What an adaptation changed on texts that were held out of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Change {
    /// Held-out texts; near-duplicates of training texts are left out.
    pub texts: usize,
    /// Nats per token under the base.
    pub base: f64,
    /// The same under the generation that was in use before.
    pub before: f64,
    /// The same under the generation in use.
    pub after: f64,
    /// `after` less `before`, text by text in nats per token: below 0 is better. The interval is a
    /// bootstrap over the texts.
    pub difference: Interval,
}

impl Change {
    /// Whether the texts are predicted worse than before, by more than chance explains; a single
    /// text does not tell.
    pub fn is_worse(&self) -> bool {
        self.texts > 1 && self.difference.low > 0.0
    }

    /// Whether they are predicted better than before, by more than chance explains; a single text
    /// does not tell.
    pub fn is_better(&self) -> bool {
        self.texts > 1 && self.difference.high < 0.0
    }
}

/// Compares the generation in use with an earlier one (0: the base, or the prior that the path
/// began with) on the texts that were held out of some periods; `None` if there are none.
///
/// The adapters are compared, without retrieval.
///
/// # Errors
///
/// If the state cannot be read or the model refuses a text.
pub fn change(
    model: &dyn LanguageModel,
    store: &Store,
    user: &UserId,
    before: u32,
    periods: &[u32],
) -> Result<Option<Change>> {
    let (mut training, mut held_out) = (Vec::new(), Vec::new());
    let learned = store.period_records(user, None)?;
    let start = learned.first().and_then(|first| first.record.prior.clone());
    for learned in learned {
        let period = learned.record.period;
        for member in store.members(user, period)? {
            match member.held_out {
                false => training.push(member.stored),
                true if periods.contains(&period) => held_out.push(member.stored),
                true => {}
            }
        }
    }
    drop_near_duplicates(&mut held_out, &training.iter().collect::<Vec<_>>());
    if held_out.is_empty() {
        return Ok(None);
    }
    let encoded = encode(model, &store.settings().config, &held_out)?;
    let after = UserModel::recall(model, store, user, None)?;
    let before = match before {
        0 => match start {
            Some(id) => store.prior_by_id(&id)?.map(|prior| Adapter::clone(&prior.adapter)),
            None => None,
        },
        number => UserModel::recall(model, store, user, Some(number))?.adapter().cloned(),
    };
    let of = |adapter: Option<&Adapter>| -> Result<Vec<Loss>> {
        encoded.chunks(1).map(|text| Ok(losses(model, &[adapter], text)?.swap_remove(0))).collect()
    };
    let (base, before, after) = (of(None)?, of(before.as_ref())?, of(after.adapter())?);
    let differences = before.iter().zip(&after).enumerate().map(|(place, (before, after))| {
        (format!("{place:08}"), after.per_token() - before.per_token())
    });
    let total = |losses: &[Loss]| losses.iter().copied().sum::<Loss>().per_token();
    Ok(bootstrap(&differences.collect(), 0).map(|difference| Change {
        texts: encoded.len(),
        base: total(&base),
        before: total(&before),
        after: total(&after),
        difference,
    }))
}
