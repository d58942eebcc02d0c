//! What a run is asked for, and what it gives.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use spring_core::{Config, spring_memory::UserId};
use spring_lm::Adapter;

use super::MethodSpec;
use spring_data::synth::{Detection, KindScores, SelectionQuality};
use spring_metrics::{ContinualScores, Direction};

use crate::{Loss, Split};

/// How much each method may train.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Budget {
    /// The paper's: as many passes over its texts as the settings say, so that a selection costs
    /// less.
    Epochs,
    /// Equal optimiser tokens: in each period every method trains on as many response tokens as
    /// `everything` does under `epochs`, over and over its own texts; `cumulative`, which begins
    /// anew each time, on as many as in all periods so far.
    Steps,
}

impl Budget {
    /// The name in files and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Epochs => "epochs",
            Self::Steps => "steps",
        }
    }
}

/// What is generated on the diagonal of R.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Generation {
    /// Texts of each test part, the data set's own questions first, then the oldest. Default 0:
    /// nothing is generated.
    pub texts: usize,
    /// Most new tokens. Default 128.
    pub tokens: usize,
}

impl Default for Generation {
    fn default() -> Self {
        Self { texts: 0, tokens: 128 }
    }
}

/// What is run for a user.
#[derive(Debug, Clone, PartialEq)]
pub struct Protocol {
    /// SPRInG's settings, and the training of all; its seed is the seed of the run.
    pub config: Config,
    /// The methods.
    pub methods: Vec<MethodSpec>,
    /// How much they may train.
    pub budget: Budget,
    /// What is generated.
    pub generation: Generation,
}

/// One user's data for a run.
#[derive(Debug, Clone, Copy)]
pub struct UserInput<'a> {
    /// The user.
    pub user: &'a UserId,
    /// The periods.
    pub splits: &'a [Split],
    /// The domain adapter, for the method `domain`.
    pub domain: Option<&'a Adapter>,
    /// Whether everyone starts from the domain adapter.
    pub start_from_domain: bool,
}

/// One method on one user.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MethodRun {
    /// R\[t\]\[i\]: the loss after period t on the test part of period i.
    pub matrix: Vec<Vec<Loss>>,
    /// Of methods that write through gate and mixture: the same of their adapter alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adapter_matrix: Vec<Vec<Loss>>,
    /// Texts learned in each period.
    pub selected: Vec<usize>,
    /// Response tokens trained on in each period, over all epochs.
    pub tokens: Vec<usize>,
    /// Test texts on the diagonal for which retrieval took part.
    pub open: Vec<usize>,
    /// The texts generated on the diagonal, in the order of time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub generated: Vec<GeneratedText>,
    /// What is known of synthetic users only, per period.
    pub synthetic: Vec<SyntheticScores>,
    /// Seconds of wall time in all, as if no other method, seed or budget had been run: what was
    /// shared counts with the time that it took when it was done.
    pub seconds: f64,
}

impl MethodRun {
    /// R in nats per byte.
    pub fn per_byte(&self) -> Vec<Vec<Option<f64>>> {
        self.matrix.iter().map(|row| row.iter().map(|loss| Some(loss.per_byte())).collect()).collect()
    }

    /// The loss on each period's test part right after that period, all periods together.
    pub fn diagonal(&self) -> Loss {
        self.matrix.iter().enumerate().filter_map(|(t, row)| row.get(t).copied()).sum()
    }

    /// The same without the first period, which most methods learn alike.
    pub fn diagonal_after_first(&self) -> Loss {
        Self::after_first(&self.matrix)
    }

    /// The same of the adapter alone; `None` of methods that write without the mixture.
    pub fn adapter_diagonal_after_first(&self) -> Option<Loss> {
        (!self.adapter_matrix.is_empty()).then(|| Self::after_first(&self.adapter_matrix))
    }

    fn after_first(matrix: &[Vec<Loss>]) -> Loss {
        matrix.iter().enumerate().skip(1).filter_map(|(t, row)| row.get(t).copied()).sum()
    }

    /// The continual metrics in nats per byte, with `base` for the forward transfer.
    pub fn continual(&self, base: &Self) -> ContinualScores {
        let base = base.per_byte().into_iter().next().unwrap_or_default();
        ContinualScores::of(&self.per_byte(), &base, Direction::Lower)
    }
}

/// A generated text and the user's own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GeneratedText {
    /// The period after which it was generated, from 1.
    pub period: u32,
    /// What the model wrote.
    pub predicted: String,
    /// What the user wrote.
    pub written: String,
    /// Whether it answers a question of the data set and is not of the user's profile.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub question: bool,
}

/// What can be measured where the truth is known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SyntheticScores {
    /// How well the selection found what is new.
    pub selection: SelectionQuality,
    /// Share of the period's test texts for which the model prefers the user's other style.
    pub stale: Option<f64>,
    /// How SPRInG's variants scored each kind of text; empty for other methods and without an
    /// adapter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<KindScores>,
}

/// One period's sizes and SPRInG's drift.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeriodSizes {
    /// Texts that could be learned.
    pub train: usize,
    /// Test texts.
    pub test: usize,
    /// Test texts left out as near-duplicates.
    pub dropped: usize,
    /// SPRInG's mean novelty before it learned the period, nats per token; `None` without an
    /// adapter.
    pub novelty: Option<f64>,
}

/// One user under one seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UserRun {
    /// The user.
    pub user: UserId,
    /// The periods.
    pub periods: Vec<PeriodSizes>,
    /// The methods by name.
    pub methods: BTreeMap<String, MethodRun>,
    /// How well the change detector found the changes of a synthetic user.
    pub detection: Option<Detection>,
}

/// What a run gives: the numbers, and SPRInG's adapter after each period, which `other_user` needs.
pub struct UserOutcome {
    /// The numbers.
    pub run: UserRun,
    /// SPRInG's adapters.
    pub adapters: Vec<Adapter>,
}
