#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod error;
mod loss;
mod metric;
mod program;
mod protocol;
mod record;
mod split;
mod state;
mod suite;

pub use error::{Error, Result};
pub use loss::{FusedLoss, Loss, encode, fused_loss, losses};
pub use metric::{Metric, SuiteMetric, Written};
pub use program::Program;
pub use protocol::{
    Answer, Domain, FromTexts, Frozen, Learned, Memo, Method, MethodKind, Methods, Period, Prompt,
    Protocol, Spring, Strategy, Trained, UserInput, UserOutcome, domain_adapter, run_other_user,
    run_other_user_reading, run_user,
};
pub use record::{
    Budget, Copied, GeneratedText, Generation, Half, MethodRun, PeriodSizes, Reads, RunKey,
    RunLine, Start, SuiteData, SuiteUser, SyntheticScores, Trains, Turn, TurnScores, UserRun,
};
pub use split::{NEAR_DUPLICATE, PeriodRule, Split, SplitConfig, split, stored};
pub use state::{Change, PeriodLosses, change, evaluate_state};
pub use suite::{
    AttributionScores, Candidate, Choice, CopyingScores, DataSet, Difference, Estimate, Measure,
    MeasureScore, MetricScore, Started, Suite, SuiteEvent, SuiteOutcome, Summary, SummaryRow,
    TurnRow, Untested, UserDifferences, estimate_suite, read_suite_run, read_suite_run_against,
    run_suite,
};
