//! What a run is asked for, and what it gives.

use std::{collections::BTreeMap, sync::Arc};

use spring_core::{Config, spring_memory::UserId};
use spring_lm::Adapter;

use super::Method;
use crate::{Budget, Error, Generation, Result, Split, Start, UserRun};

/// What is run for a user.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Protocol {
    /// SPRInG's settings, and the training of all; its seed is the seed of the run.
    pub config: Config,
    /// The methods.
    pub methods: Vec<Method>,
    /// How much they may train.
    pub budget: Budget,
    /// What is generated.
    pub generation: Generation,
}

impl Protocol {
    /// Some methods with as many epochs as the settings say; nothing is generated.
    pub fn new(config: Config, methods: Vec<Method>) -> Self {
        Self { config, methods, budget: Budget::Epochs, generation: Generation::default() }
    }

    /// Another budget.
    #[must_use]
    pub fn with_budget(self, budget: Budget) -> Self {
        Self { budget, ..self }
    }

    /// With texts to generate.
    #[must_use]
    pub fn with_generation(self, generation: Generation) -> Self {
        Self { generation, ..self }
    }
}

/// One user's data for a run.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct UserInput<'a> {
    /// The user.
    pub user: &'a UserId,
    /// The periods.
    pub splits: &'a [Split],
    /// The domain adapter: for the method `domain`, to start from, and as the population's that
    /// novelty is measured against where `drift.reference` says so.
    pub domain: Option<&'a Adapter>,
    /// What everyone starts from.
    pub start: Start,
}

impl<'a> UserInput<'a> {
    /// A user without a domain adapter.
    pub fn new(user: &'a UserId, splits: &'a [Split]) -> Self {
        Self { user, splits, domain: None, start: Start::Base }
    }

    /// With a domain adapter, and what everyone starts from.
    #[must_use]
    pub fn with_domain(self, adapter: Option<&'a Adapter>, start: Start) -> Self {
        Self { domain: adapter, start, ..self }
    }
}

/// What a run gives: the numbers, and what the methods of others' adapters need.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct UserOutcome {
    /// The numbers.
    pub run: UserRun,
    /// SPRInG's adapter after each period.
    pub adapters: Vec<Adapter>,
    /// For each method `other_user+retrieval`, by its name, the bank that it reads: after each
    /// period the sequence numbers of the texts, in the order of the bank.
    pub banks: BTreeMap<String, Vec<Vec<u64>>>,
}

/// The settings of a method for a user, and the adapter that it starts from.
pub(super) fn ready(
    method: &Method,
    protocol: &Protocol,
    input: UserInput<'_>,
) -> Result<(Config, Option<Arc<Adapter>>)> {
    let config = method.configure(&protocol.config)?;
    if method.needs_domain(input.start, &protocol.config) && input.domain.is_none() {
        let reason = format!("{}: there is no domain adapter", method.name());
        return Err(Error::NotEnough(reason));
    }
    let start = input.domain.filter(|_| method.starts_at_domain(input.start));
    Ok((config, start.cloned().map(Arc::new)))
}
