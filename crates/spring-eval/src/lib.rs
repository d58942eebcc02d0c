#![doc = include_str!("../README.md")]

mod compare;
mod compare_plot;
mod error;
mod loss;
mod report;
mod split;
mod state;

pub use compare::{Comparison, Method, PeriodComparison, Plan, Stream, UserComparison, compare};
pub use compare_plot::comparison_svg;
pub use error::{Error, Result};
pub use loss::{FusedLoss, Loss, encode, fused_loss, losses};
pub use report::{UserReport, html};
pub use split::{NEAR_DUPLICATE, Split, SplitConfig, split};
pub use state::{PeriodLosses, evaluate_state};
