//! From a prompt to the branches that answer it: search, gate, layout.

use spring_fuse::{Calibration, Candidate, GateConfig, GateDecision};

use crate::{
    Result, UserModel,
    prompt::{Contexts, Earlier, RetrievedPair, contexts_after},
    record::RetrievedText,
};

/// As many candidates are searched and recorded at least; a gate that may keep more needs them and
/// the runner-up.
const CANDIDATES: usize = 16;

/// What retrieval made of a prompt.
#[derive(Debug, Clone)]
pub struct Retrieval {
    /// What was found, best first.
    pub found: Vec<RetrievedText>,
    /// What the gate made of it.
    pub gate: GateDecision,
    /// The contexts of the branches.
    pub contexts: Contexts,
}

impl UserModel<'_> {
    /// Searches the bank for the whole prompt, asks the gate, and lays out the branches with room
    /// for `new_tokens` and without the prompt's first `lost` tokens.
    ///
    /// # Errors
    ///
    /// If a setting is out of range or the tokenizer refuses a text.
    pub fn retrieve(
        &self,
        prompt: &str,
        lost: usize,
        new_tokens: Option<usize>,
    ) -> Result<Retrieval> {
        self.retrieve_after(Earlier::default(), prompt, lost, new_tokens)
    }

    /// The same for a prompt behind what was said before: the branches have its turns before the
    /// prompt, the search is for the prompt alone.
    ///
    /// # Errors
    ///
    /// As [`retrieve`](Self::retrieve).
    pub fn retrieve_after(
        &self,
        earlier: Earlier<'_>,
        prompt: &str,
        lost: usize,
        new_tokens: Option<usize>,
    ) -> Result<Retrieval> {
        self.retrieve_under(&self.config.gate, earlier, prompt, lost, new_tokens)
    }

    /// The same with another gate than the settings'.
    pub(crate) fn retrieve_under(
        &self,
        gate: &GateConfig,
        earlier: Earlier<'_>,
        prompt: &str,
        lost: usize,
        new_tokens: Option<usize>,
    ) -> Result<Retrieval> {
        let (model, bank) = (self.base(), &self.bank);
        let hits = bank.search(model, prompt, CANDIDATES.max(gate.k().saturating_add(1)))?;
        let candidates: Vec<Candidate> = hits.iter().map(|hit| Candidate::new(hit.score)).collect();
        let calibration = Calibration::new(self.memories.calibration.clone());
        let gate = gate.init()?.decide(&candidates, &calibration);
        let kept: Vec<RetrievedPair<'_>> = gate
            .kept
            .iter()
            .filter_map(|i| bank.text(hits.get(*i)?.key))
            .map(RetrievedPair::of)
            .collect();
        let contexts = contexts_after(model, earlier, prompt, lost, &kept, new_tokens)?;
        let found = hits
            .iter()
            .filter_map(|hit| {
                let id = bank.text(hit.key)?.interaction.id.clone();
                Some(RetrievedText {
                    seq: hit.key,
                    id,
                    score: hit.score,
                    used: contexts.used.contains(&hit.key),
                })
            })
            .collect();
        Ok(Retrieval { found, gate, contexts })
    }
}
