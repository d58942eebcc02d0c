//! What was decided and why: the records that `spring explain` shows. Period records name texts by
//! number and id and quote none; an answer's record holds its own prompt and text.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use spring_drift::{DriftScore, ScoreStatistics};
use spring_fuse::{GateConfig, GateDecision, MixtureConfig};
use spring_memory::{Evicted, InteractionId};

use crate::{Config, DecodingConfig};

/// A period that was learned, with the generation that it made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LearnedPeriod {
    /// The generation's number.
    pub generation: u32,
    /// What was decided on the way.
    #[serde(flatten)]
    pub record: PeriodRecord,
}

/// One period of one user: what was scored, selected, learned and kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeriodRecord {
    /// The period.
    pub period: u32,
    /// The generation it started from; 0 when there was none, but perhaps a `prior`.
    pub parent: u32,
    /// When it was learned, just before it was committed.
    pub finished: Timestamp,
    /// Seconds of wall time.
    pub seconds: f64,
    /// How many texts of the period were held out.
    pub held_out: usize,
    /// Every text that could be learned, in the order of time.
    pub scores: Vec<ScoredText>,
    /// How the terms of the score spread and correlate.
    pub statistics: ScoreStatistics,
    /// How the selection was made.
    pub selection: SelectionRecord,
    /// The training run.
    pub update: UpdateRecord,
    /// What the buffer dropped, and why.
    pub evicted: Vec<Evicted>,
    /// The gate's threshold after the period; `None` while it stays closed.
    pub gate_threshold: Option<f64>,
    /// Whether it is still to be said if the generation stays in use; see
    /// [`Store::unjudged`](crate::Store::unjudged).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unjudged: bool,
    /// Whether the adapter was [imported](crate::Store::adopt): no text was learned, and it cannot
    /// be learned again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub imported: bool,
    /// The [prior](crate::Prior) that it started from, by the hash of its adapter; `None` where it
    /// started from a generation or from the base alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prior: Option<String>,
    /// The settings in force.
    pub config: Config,
}

impl PeriodRecord {
    /// When the gate opens after the period, in words.
    pub fn gate_rule(&self) -> String {
        match (&self.config.gate, self.gate_threshold) {
            (GateConfig::Always { .. }, _) => "always open".into(),
            (GateConfig::Never {}, _) => "never open".into(),
            (GateConfig::Margin { margin, .. }, _) => format!("opens {margin} above the runner-up"),
            (GateConfig::Calibrated { .. }, Some(threshold)) => {
                format!("opens above {threshold:.3}, where reading along has gained something")
            }
            (GateConfig::Calibrated { .. }, None) => {
                "by gains that were measured; with too few, or none, see each answer".into()
            }
            (_, Some(threshold)) => format!("opens at {threshold:.3}"),
            (_, None) => "closed until there are more texts".into(),
        }
    }
}

/// One text's score before the period's update.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoredText {
    /// Its sequence number.
    pub seq: u64,
    /// Its id.
    pub id: InteractionId,
    /// Log-likelihood under the base, nats per token.
    pub base: f64,
    /// Log-likelihood under the adapter before the update, nats per token; `None` when there was
    /// none, or none that had learned anything.
    pub adapter: Option<f64>,
    /// Log-likelihood under the population's adapter, nats per token, where novelty was measured
    /// against that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub population: Option<f64>,
    /// What learning from it alone gained on the latest others, where that was measured: per token
    /// or per byte, as `drift.length` of the settings says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lookahead: Option<f64>,
    /// Novelty N, quality Q and the drift score S; per token or per byte, as `drift.length` of the
    /// settings says.
    #[serde(flatten)]
    pub score: DriftScore,
    /// Its rank among the selected, from 1; `None` if it was not selected.
    pub selected: Option<usize>,
    /// Response tokens scored.
    pub tokens: usize,
    /// What did not fit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cuts: Vec<Cut>,
}

/// How the selection was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SelectionRecord {
    /// Texts selected.
    pub selected: usize,
    /// The lowest score that was selected.
    pub cutoff: Option<f64>,
    /// The rule, in words.
    pub reason: String,
}

/// One training run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UpdateRecord {
    /// Optimiser steps.
    pub steps: usize,
    /// Response tokens trained on, over all epochs.
    pub tokens: usize,
    /// Mean loss, nats per token, over each stated interval of steps.
    pub losses: Vec<f32>,
    /// The key of this run's randomness.
    pub seed: u64,
    /// Seconds of wall time.
    pub seconds: f64,
}

/// One generated text: what was retrieved, why the gate opened or not, and what each branch gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnswerRecord {
    /// What whoever asked knows it by; `None` for one that was given no name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// When it was generated.
    pub time: Timestamp,
    /// The generation in use; 0 for the base.
    pub generation: u32,
    /// The prompt.
    pub prompt: String,
    /// The text.
    pub text: String,
    /// Why it ended.
    pub ended: Ending,
    /// What found texts: the retriever's name.
    #[serde(default = "bm25")]
    pub retriever: String,
    /// The gate's decision.
    pub gate: GateDecision,
    /// What retrieval found, best first.
    pub retrieved: Vec<RetrievedText>,
    /// How the branches were mixed, with the contrast with the base that took part; `None` where
    /// there was one branch, the gate closed and nothing contrasted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fusion: Option<MixtureConfig>,
    /// The penalties and the sampler, and the most tokens that there was room for; `None` in
    /// records of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decoding: Option<DecodingConfig>,
    /// What each token got from the retrieval branch; empty when the gate was closed.
    pub trace: Vec<TokenTrace>,
    /// What did not fit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cuts: Vec<Cut>,
}

/// What found texts before there was a choice.
fn bm25() -> String {
    "bm25".into()
}

impl AnswerRecord {
    /// Mean share of the tokens' probability that came from the retrieval branch; `None` when it
    /// was not asked.
    pub fn retrieval_share(&self) -> Option<f64> {
        let sum: f64 = self.trace.iter().map(|t| f64::from(t.retrieval_share)).sum();
        (!self.trace.is_empty()).then(|| sum / self.trace.len() as f64)
    }
}

/// Why a generated text ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The model wrote the end token.
    EndToken,
    /// The token limit was reached.
    Length,
    /// A stop string was written; it is not part of the text.
    StopString,
    /// The caller asked to stop.
    Stopped,
}

/// A text that retrieval found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RetrievedText {
    /// Its sequence number.
    pub seq: u64,
    /// Its id.
    pub id: InteractionId,
    /// Its score under the retriever.
    pub score: f64,
    /// Whether the gate let it into the prompt.
    pub used: bool,
}

/// One generated token and where its probability came from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenTrace {
    /// The token's id.
    pub token: u32,
    /// What the tokenizer makes of it alone; empty in records of older versions.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// Weight λ of the retrieval branch at this step.
    pub lambda: f32,
    /// Share of the chosen token's mixed probability that came from the retrieval branch, 0 to 1.
    pub retrieval_share: f32,
    /// Jensen-Shannon divergence of the branches at this step, nats: from 0 where they agree to ln
    /// 2 where they exclude each other. `None` unless λ follows it or `fusion.trace_divergence`
    /// asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub divergence: Option<f32>,
}

/// Something that did not fit and was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "part", deny_unknown_fields)]
pub enum Cut {
    /// The beginning of the prompt.
    Prompt {
        /// Tokens left out.
        tokens: usize,
    },
    /// The end of the response, its end token included.
    Response {
        /// Tokens left out.
        tokens: usize,
    },
    /// A whole retrieved text.
    Retrieved {
        /// Its sequence number.
        seq: u64,
    },
    /// Fewer new tokens than asked for.
    NewTokens {
        /// Tokens left out.
        tokens: usize,
    },
    /// The oldest turns of the conversation.
    Turns {
        /// Turns left out.
        turns: usize,
    },
}

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Prompt { tokens } => write!(f, "the prompt lost its first {tokens} tokens"),
            Self::Response { tokens } => write!(f, "the response lost its last {tokens} tokens"),
            Self::Retrieved { seq } => write!(f, "retrieved text {seq} did not fit"),
            Self::NewTokens { tokens } => write!(f, "{tokens} fewer new tokens than asked for"),
            Self::Turns { turns } => write!(f, "the oldest {turns} turns did not fit"),
        }
    }
}
