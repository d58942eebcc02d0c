//! The input: how likely a text is to the base model and to the current adapter.

use serde::{Deserialize, Serialize};

use crate::DriftError;

/// One response, as the base model and the current adapter see it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Observation {
    /// Mean log-likelihood of the response under the base model, in nats per token.
    pub base: f64,
    /// The same under the current adapter; `None` while there is no adapter, which makes the
    /// novelty 0.
    pub adapter: Option<f64>,
    /// Position in time: a larger number is newer. Should be unique within a user.
    pub order: u64,
    /// Mean log-likelihood under the adapter of a population, in nats per token, where novelty is
    /// measured against that instead of against the base. Default `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub population: Option<f64>,
    /// What learning from this text alone gains on others of the same person: their mean
    /// log-likelihood after it less that before it, in nats per token. `None`, the default, where
    /// it was not measured; [`Lookahead`](crate::Lookahead) needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lookahead: Option<f64>,
}

impl Observation {
    /// Of the mean log-likelihoods under the base and, where there is one, the adapter, in nats per
    /// token, and the position in time.
    pub fn new(base: f64, adapter: Option<f64>, order: u64) -> Self {
        Self { base, adapter, order, population: None, lookahead: None }
    }

    /// The same with the mean log-likelihood under a population's adapter, nats per token.
    #[must_use]
    pub fn with_population(self, population: Option<f64>) -> Self {
        Self { population, ..self }
    }

    /// The same with what learning from it gains on others, nats per token.
    #[must_use]
    pub fn with_lookahead(self, lookahead: Option<f64>) -> Self {
        Self { lookahead, ..self }
    }

    /// N = ℓ₀ − ℓ_θ, nats per token: how much worse the adapter explains the text than the base
    /// does; or N = ℓ_P − ℓ_θ, than the population's adapter does, where that is known.
    pub fn novelty(&self) -> f64 {
        self.adapter.map_or(0.0, |adapter| self.population.unwrap_or(self.base) - adapter)
    }

    /// Q = ℓ₀, nats per token: the base's own likelihood, low for noise.
    pub fn quality(&self) -> f64 {
        self.base
    }

    /// ℓ of the model in use, nats per token: the adapter's, or the base's while there is none.
    pub fn current(&self) -> f64 {
        self.adapter.unwrap_or(self.base)
    }

    /// Refuses NaN and infinities, naming `index`.
    pub(crate) fn check(&self, index: usize) -> Result<(), DriftError> {
        finite(index, "base", self.base)?;
        if let Some(adapter) = self.adapter {
            finite(index, "adapter", adapter)?;
        }
        if let Some(population) = self.population {
            finite(index, "population", population)?;
        }
        if let Some(lookahead) = self.lookahead {
            finite(index, "lookahead", lookahead)?;
        }
        finite(index, "novelty", self.novelty())
    }
}

/// `Ok` for a finite `value`, else the error that names its place.
pub(crate) fn finite(index: usize, field: &'static str, value: f64) -> Result<(), DriftError> {
    if value.is_finite() { Ok(()) } else { Err(DriftError::NotFinite { index, field, value }) }
}
