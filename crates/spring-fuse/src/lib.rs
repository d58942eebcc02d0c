#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod calibration;
mod contrast;
mod contrastive;
mod divergence;
mod error;
mod gains;
mod gate;
mod lambda;
mod log_linear;
mod log_softmax;
mod mixture;
mod nucleus;
mod penalties;
mod per_branch;
mod probability;
mod sampler;
mod top_k;

pub use calibration::Calibration;
pub use contrast::{Contrast, Tail};
pub use contrastive::Contrastive;
pub use divergence::jensen_shannon;
pub use error::FuseError;
pub use gains::{ExpectedGain, GainCurve, Gains, TextGain, isotonic};
pub use gate::{
    AlwaysGate, CalibratedGate, Candidate, FixedGate, Gate, GateConfig, GateDecision, MarginGate,
    NeverGate, Otherwise, QuantileGate,
};
pub use lambda::Lambda;
pub use log_linear::LogLinear;
pub use log_softmax::log_softmax;
pub use mixture::{MixTrace, Mixture, MixtureConfig, Space};
pub use penalties::{Penalizer, Penalties};
pub use per_branch::{MAX_BRANCHES, PerBranch};
pub use probability::Probability;
pub use sampler::{Sampler, SamplerConfig};
pub use spring_numerics::SettingError;
