//! Whether what was learned stays in use.

use std::{fmt, sync::Arc};

use spring_core::{LanguageModel, record::LearnedPeriod, spring_memory::UserId};

/// Says whether what a user has learned stays in use; else the generation before comes back.
///
/// It is asked after the commit, with the user, the number of the generation before, and what was
/// learned. Requests that come in between are answered by the new generation. If the engine ends in
/// between, the next engine on the state asks its own judge soon after its start.
#[derive(Clone)]
pub struct Judge(Arc<Verdict>);

type Verdict = dyn Fn(&dyn LanguageModel, &UserId, u32, &[LearnedPeriod]) -> Result<bool, String>
    + Send
    + Sync;

impl Judge {
    /// A judge. What it fails with is the adaptation's failure; what was learned stays then, and is
    /// judged after the next start.
    pub fn new<F>(verdict: F) -> Self
    where
        F: Fn(&UserId, u32, &[LearnedPeriod]) -> Result<bool, String> + Send + Sync + 'static,
    {
        Self::with_model(move |_, user, before, learned| verdict(user, before, learned))
    }

    /// The same for one that asks the model how likely texts are. The model that it is given is the
    /// engine's, and lets answers go first: with another one it would delay them, and could not be
    /// stopped. When it is, every call of that model fails.
    pub fn with_model<F>(verdict: F) -> Self
    where
        F: Fn(&dyn LanguageModel, &UserId, u32, &[LearnedPeriod]) -> Result<bool, String>
            + Send
            + Sync
            + 'static,
    {
        Self(Arc::new(verdict))
    }

    /// Whether it stays.
    pub(crate) fn keeps(
        &self,
        model: &dyn LanguageModel,
        user: &UserId,
        before: u32,
        learned: &[LearnedPeriod],
    ) -> Result<bool, String> {
        (self.0)(model, user, before, learned)
    }
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Judge(…)")
    }
}
