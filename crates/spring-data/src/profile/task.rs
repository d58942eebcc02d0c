//! The tasks of LaMP and LongLaMP.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// What a file's users wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Task {
    /// LaMP-1: which of two papers is cited.
    #[serde(rename = "LaMP-1")]
    Lamp1,
    /// LaMP-2: the tag of a film, or in its first version the category of an article.
    #[serde(rename = "LaMP-2")]
    Lamp2,
    /// LaMP-3: the rating of a review.
    #[serde(rename = "LaMP-3")]
    Lamp3,
    /// LaMP-4: the headline of an article.
    #[serde(rename = "LaMP-4")]
    Lamp4,
    /// LaMP-5: the title of a paper.
    #[serde(rename = "LaMP-5")]
    Lamp5,
    /// LaMP-6: the subject of a mail.
    #[serde(rename = "LaMP-6")]
    Lamp6,
    /// LaMP-7: a tweet.
    #[serde(rename = "LaMP-7")]
    Lamp7,
    /// LongLaMP's product reviews.
    #[serde(rename = "LongLaMP product_review")]
    ProductReview,
    /// LongLaMP's abstracts.
    #[serde(rename = "LongLaMP abstract_generation")]
    AbstractGeneration,
    /// LongLaMP's posts on a topic.
    #[serde(rename = "LongLaMP topic_writing")]
    TopicWriting,
}

impl Task {
    /// The name in files and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lamp1 => "LaMP-1",
            Self::Lamp2 => "LaMP-2",
            Self::Lamp3 => "LaMP-3",
            Self::Lamp4 => "LaMP-4",
            Self::Lamp5 => "LaMP-5",
            Self::Lamp6 => "LaMP-6",
            Self::Lamp7 => "LaMP-7",
            Self::ProductReview => "LongLaMP product_review",
            Self::AbstractGeneration => "LongLaMP abstract_generation",
            Self::TopicWriting => "LongLaMP topic_writing",
        }
    }
}

impl Task {
    /// All tasks.
    pub const ALL: [Self; 10] = [
        Self::Lamp1,
        Self::Lamp2,
        Self::Lamp3,
        Self::Lamp4,
        Self::Lamp5,
        Self::Lamp6,
        Self::Lamp7,
        Self::ProductReview,
        Self::AbstractGeneration,
        Self::TopicWriting,
    ];
}

/// A name that is none of a task's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no such task; there are LaMP-1 to LaMP-7, product_review, abstract_generation and \
     topic_writing"
)]
pub struct UnknownTask;

impl FromStr for Task {
    type Err = UnknownTask;

    /// A task by its name in files and tables; LongLaMP's also without the data set's.
    fn from_str(name: &str) -> Result<Self, UnknownTask> {
        let is_named = |task: &&Self| {
            let known = task.name();
            let last = known.rsplit(' ').next().unwrap_or(known);
            [known, last].iter().any(|known| known.eq_ignore_ascii_case(name))
        };
        Self::ALL.iter().find(is_named).copied().ok_or(UnknownTask)
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
