//! Priors: adapters that are learned from several users, and from which others start.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use spring_lm::{LoraConfig, TrainConfig};
use spring_memory::{Interaction, InteractionId, UserId};
use spring_numerics::digest::Digest;

use crate::{StoredInteraction, UserVersion, record::UpdateRecord};

/// From what and how a prior was learned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct PriorRecord {
    /// When it was learned, just before it was committed.
    pub finished: Timestamp,
    /// Fingerprint of base and tokenizer.
    pub base: String,
    /// How many users it was learned from.
    pub users: usize,
    /// How many texts it was learned from.
    pub texts: usize,
    /// The most texts of each user.
    pub most: usize,
    /// Of the texts, how many were forgotten since: it knows them until it is learned again.
    #[serde(default, skip_serializing_if = "is_none")]
    pub forgotten: usize,
    /// Those users and texts that are still there; empty in a state that a user brought it to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contributors: Vec<Contributor>,
    /// The adapter's shape.
    pub lora: LoraConfig,
    /// How it was trained.
    pub training: TrainConfig,
    /// The training run.
    pub update: UpdateRecord,
}

fn is_none(count: &usize) -> bool {
    *count == 0
}

/// What a prior was learned from of one user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Contributor {
    /// The user.
    pub user: UserId,
    /// Since when the user agrees.
    pub agreed: Timestamp,
    /// The texts, in the order of time.
    pub texts: Vec<ContributedText>,
}

/// A text that a prior was learned from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ContributedText {
    /// Its sequence number.
    pub seq: u64,
    /// Its id.
    pub id: InteractionId,
    /// SHA-256 of its id, time, prompt and response, in hexadecimal digits.
    pub digest: String,
}

impl ContributedText {
    /// That of a text.
    pub fn of(text: &StoredInteraction) -> Self {
        let Interaction { id, time, prompt, response, .. } = &text.interaction;
        let mut digest = Digest::new();
        digest.update_part(id.as_str());
        digest.update_part(time.as_nanosecond().to_le_bytes());
        digest.update_part(prompt);
        digest.update_part(response);
        Self { seq: text.seq, id: id.clone(), digest: digest.hex() }
    }
}

/// A prior in a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PriorSummary {
    /// Its number.
    pub number: u32,
    /// The hash of its adapter, in hexadecimal digits.
    pub id: String,
    /// Whether those who have learned nothing yet start from it.
    pub in_use: bool,
    /// How many users have learned something that started from it.
    pub started: u64,
    /// From what and how it was learned.
    pub record: PriorRecord,
}

/// A prior that was learned from texts of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PriorUse {
    /// Its number.
    pub number: u32,
    /// Whether those who have learned nothing yet start from it.
    pub in_use: bool,
    /// How many users have learned something that started from it.
    pub started: u64,
    /// How many of the texts that were asked about it was learned from.
    pub texts: usize,
}

/// Whom a prior is learned from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Contributors {
    /// Those of the prior in use who are still there and agree; without one, all who agree.
    #[default]
    Same,
    /// All who agree.
    Consenting,
    /// These: who names them says that they agree, and that is put on record. One who has said no
    /// is refused.
    Named(Vec<UserId>),
    /// Everybody but those who have said no; also with the agreement of whoever says so.
    All,
}

/// Whom a prior is learned from, and how much of each.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PriorPlan {
    /// The users. Default: those of the prior in use, else all who agree.
    pub from: Contributors,
    /// Those who are left out. Default: nobody.
    pub except: Vec<UserId>,
    /// The most texts of each user: the latest, so that nobody who has written much outweighs the
    /// others. Default 100.
    pub most: usize,
}

impl Default for PriorPlan {
    fn default() -> Self {
        Self { from: Contributors::default(), except: Vec::new(), most: 100 }
    }
}

spring_numerics::setters! {
    PriorPlan {
        with_from(from: Contributors);
        with_except(except: Vec<UserId>);
        with_most(most: usize);
    }
}

/// The texts that a prior may be learned from, as of one point in time.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PriorTexts {
    /// The users, in the order of their names, each with the latest texts in the order of time: of
    /// periods, and not held out there. What is in no period yet can still be held out.
    pub contributors: Vec<(UserVersion, Vec<StoredInteraction>)>,
    /// Those who were left out because they have said no.
    pub refused: Vec<UserId>,
    /// Those who have no such text.
    pub silent: Vec<UserId>,
    /// The most texts of each user.
    pub most: usize,
    /// Whether being chosen counts as agreement.
    pub(crate) agrees: bool,
}

/// What a change of the state's priors did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PriorChange {
    /// The prior that came into use, or went out of it; `None` if there was none.
    pub number: Option<u32>,
    /// Those that were removed, as nothing that was learned started from them.
    pub removed: Vec<u32>,
    /// What kept what was removed from being wiped out where rows do not show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_up: Option<String>,
}

/// What a user has said of contributing to priors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Contribution {
    /// Whether priors may be learned from the user's texts.
    pub contributes: bool,
    /// When that was said; `None` if nothing was.
    pub since: Option<Timestamp>,
}
