//! What a model hands out for the branches of one position.

use ndarray::ArrayView2;

use crate::{Error, Result};

/// The rows of log-probabilities, one per branch, each over the whole vocabulary.
pub(crate) fn rows<'a>(
    log_probs: &'a ArrayView2<'_, f32>,
    branches: usize,
    vocabulary: usize,
) -> Result<Vec<&'a [f32]>> {
    let rows: Vec<&[f32]> = log_probs.rows().into_iter().filter_map(|row| row.to_slice()).collect();
    if log_probs.dim() != (branches, vocabulary) || rows.len() != branches {
        let reason = format!(
            "log-probabilities of shape {:?} and strides {:?}, where {branches} branches over \
             {vocabulary} tokens need [{branches}, {vocabulary}], row by row",
            log_probs.shape(),
            log_probs.strides()
        );
        return Err(Error::Contract { reason });
    }
    Ok(rows)
}

/// The token of a response at a position that a model hands out.
pub(crate) fn token_at(response: &[u32], position: usize) -> Result<u32> {
    response.get(position).copied().ok_or_else(|| Error::Contract {
        reason: format!("position {position} of a response of {} tokens", response.len()),
    })
}

/// Refuses log-likelihoods that are not one for each token of a response.
pub(crate) fn check_scores(scores: &[f32], response: &[u32]) -> Result<()> {
    if scores.len() == response.len() {
        return Ok(());
    }
    let reason = format!("{} scores for the {} tokens of a response", scores.len(), response.len());
    Err(Error::Contract { reason })
}
