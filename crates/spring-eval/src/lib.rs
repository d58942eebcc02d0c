#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod compare;
mod compare_plot;
mod error;
mod loss;
mod protocol;
mod split;
mod state;
mod suite;

pub use compare::{Comparison, Method, PeriodComparison, Plan, UserComparison, compare};
pub use compare_plot::comparison_svg;
pub use error::{Error, Result};
pub use loss::{FusedLoss, Loss, encode, fused_loss, losses};
pub use protocol::{
    Budget, GeneratedText, Generation, Memo, MethodRun, MethodSpec, PeriodSizes, Protocol, SyntheticScores,
    UserInput, UserOutcome, UserRun, domain_adapter, run_other_user, run_user,
};
pub use split::{NEAR_DUPLICATE, PeriodRule, Split, SplitConfig, split, stored};
pub use state::{PeriodLosses, evaluate_state};
pub use suite::{
    Candidate, Choice, DataSet, Estimate, Half, RunKey, RunLine, Start, Suite, SuiteData, SuiteEvent, SuiteOutcome, SuiteUser,
    Summary, SummaryRow, estimate_suite, run_suite,
};
