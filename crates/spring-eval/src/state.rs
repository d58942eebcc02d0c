//! A user's state, evaluated on the texts that were held out of it.

use serde::{Deserialize, Serialize};
use spring_core::{LanguageModel, Store, StoredInteraction, UserModel, spring_memory::UserId};
use spring_lm::Adapter;

use crate::{
    FusedLoss, Loss, Result,
    loss::{encode, fused_loss, losses},
    split::drop_near_duplicates,
};

/// Losses on the held-out texts of one period, right after it was learned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
