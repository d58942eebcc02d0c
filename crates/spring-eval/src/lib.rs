#![doc = include_str!("../README.md")]

mod compare;
mod compare_plot;
mod continual;
pub mod data;
mod error;
mod learner;
mod loss;
mod metrics;
mod protocol;
mod report;
mod split;
mod state;
mod statistics;
mod suite;
pub mod synth;

pub use compare::{Comparison, Method, PeriodComparison, Plan, Stream, UserComparison, compare};
pub use compare_plot::comparison_svg;
pub use continual::{ContinualScores, Direction};
pub use error::{Error, Result};
pub use loss::{FusedLoss, Loss, encode, fused_loss, losses};
pub use metrics::{
    LabelScores, NumberScores, Rouge, TextScores, label_scores, meteor, number_scores, read_string_pairs,
    rouge, score_files,
};
pub use protocol::{
    Budget, GeneratedText, Generation, Memo, MethodRun, MethodSpec, PeriodSizes, Protocol, SyntheticScores,
    UserInput, UserOutcome, UserRun, domain_adapter, run_other_user, run_user,
};
pub use report::{UserReport, html};
pub use split::{NEAR_DUPLICATE, PeriodRule, Split, SplitConfig, split};
pub use state::{PeriodLosses, evaluate_state};
pub use statistics::{Interval, PairedTest, UserScores, average_seeds, bootstrap, holm, paired_test};
pub use suite::{
    Candidate, Choice, DataSet, Estimate, Half, Start, Suite, SuiteData, SuiteEvent, SuiteOutcome, SuiteUser,
    Summary, SummaryRow, estimate_suite, run_suite,
};
