//! What an export consists of: its files, and what stands on their lines.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use spring_fuse::Calibration;
use spring_memory::{BufferItem, UserId};

use crate::{PriorRecord, record::PeriodRecord};

/// The layout that this version writes of a user who started from a prior, or has said something of
/// contributing to one.
pub(super) const FORMAT: u32 = 4;
/// The layout that it writes of others.
pub(super) const WITHOUT_PRIORS: u32 = 3;
/// The oldest one that it reads, which had no checksums; that of version 2 had no consent.
pub(super) const OLDEST: u32 = 1;

/// The checksums of all files, as `sha256sum -c` reads them.
pub(super) const SUMS: &str = "SHA256SUMS";
pub(super) const USER: &str = "user.json";
pub(super) const SETTINGS: &str = "settings.toml";
pub(super) const HISTORY: &str = "history.jsonl";
pub(super) const PLACES: &str = "places.jsonl";
pub(super) const GENERATIONS: &str = "generations.jsonl";
pub(super) const ANSWERS: &str = "answers.jsonl";
/// Only of a user who started from one.
pub(super) const PRIORS: &str = "priors.jsonl";

/// What stands in the place of a generation's number in the folder of a prior's adapter. An id is
/// not a name of the user's: it is the adapter's hash, in hexadecimal digits.
pub(super) fn prior_folder(id: &str) -> String {
    format!("prior-{id}")
}

/// Most periods.
pub(super) const MAX_PERIODS: u32 = 1_000_000;
/// Highest number of a generation, so that there is room for those that come after.
pub(super) const MAX_GENERATION: u32 = 1 << 30;
/// Highest next sequence number, for the same reason.
pub(super) const MAX_SEQ: u64 = 1 << 53;

/// `user.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    pub(super) format: u32,
    pub(super) user: UserId,
    pub(super) model: String,
    pub(super) fingerprint: String,
    pub(super) next_seq: u64,
    pub(super) periods: u32,
    pub(super) generation: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) consent: Option<Said>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) contribution: Option<Agreed>,
}

/// What the user has said of conversations.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Said {
    pub(super) keep_conversations: bool,
    pub(super) since: Timestamp,
}

/// What the user has said of contributing to priors.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Agreed {
    pub(super) contributes: bool,
    pub(super) since: Timestamp,
}

/// A line of `priors.jsonl`: a prior that generations started from.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StartLine {
    /// The hash of its adapter.
    pub(super) id: String,
    /// Without contributors.
    pub(super) record: PriorRecord,
}

/// A line of `places.jsonl`: what belongs to the interaction on the same line of the history.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Place {
    pub(super) seq: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) base: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) period: Option<u32>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) held_out: bool,
}

/// A line of `generations.jsonl`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line {
    pub(super) number: u32,
    pub(super) parent: u32,
    pub(super) period: u32,
    /// `None` for a generation that was pruned; else there is an adapter too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) memories: Option<Bank>,
    pub(super) record: PeriodRecord,
}

/// What a generation retrieves from.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Bank {
    pub(super) buffer: Vec<BufferItem>,
    pub(super) calibration: Calibration,
}
