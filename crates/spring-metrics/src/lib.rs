#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod attribution;
mod continual;
mod copying;
mod error;
mod files;
mod labels;
mod meteor;
mod porter;
mod rouge;
mod statistics;
mod text;

pub use attribution::Attribution;
pub use continual::{ContinualScores, Direction};
pub use copying::{Passage, Passages};
pub use error::{Error, Result};
pub use files::{read_string_pairs, score_files};
pub use labels::{LabelScores, NumberScores, label_scores, number_scores};
pub use meteor::meteor;
pub use rouge::{Rouge, rouge};
pub use statistics::{
    Interval, PairedTest, UserScores, average_seeds, bootstrap, holm, paired_test,
};
pub use text::TextScores;
