//! The log-likelihood of a response that is known, through the gate, the contrast and the mixture.

use spring_fuse::{Contrast, Tail};
use spring_lm::Branch;
use spring_numerics::SettingError;

use crate::{
    Error, Result, UserModel,
    branches::{check_scores, rows, token_at},
    prompt::Encoded,
};

/// The log-likelihood of a given response as [`UserModel::generate`] would assign it, before
/// penalties.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FusedScore {
    /// Log-likelihood of every response token under the adapter alone, nats.
    pub adapter: Vec<f32>,
    /// The same with the contrast and under the mixture; equal to `adapter` where the gate is
    /// closed and nothing is contrasted.
    pub fused: Vec<f32>,
    /// Whether the retrieval branch took part.
    pub open: bool,
    /// Mean share of the tokens' probability that came from the retrieval branch; 0 when the gate
    /// is closed.
    pub retrieval_share: f64,
}

impl UserModel<'_> {
    /// Scores a response that is known, teacher-forced, through the gate, the contrast with the
    /// base and the mixture.
    ///
    /// `encoded` is what [`encode_pair`](crate::prompt::encode_pair) made of prompt and response:
    /// the branch without retrieval, so that a closed gate gives the adapter's own score. The other
    /// branch has the same part of the prompt.
    ///
    /// # Errors
    ///
    /// As [`generate`](Self::generate), and [`Error::Setting`] where the contrast drops its tail:
    /// a text that is known has no finite log-likelihood then.
    pub fn score(&self, prompt: &str, encoded: &Encoded) -> Result<FusedScore> {
        let (model, config) = (self.base(), &self.config);
        let sequence = &encoded.sequence;
        let response = &sequence.response;
        let lost = encoded.lost_of_prompt();
        let retrieval = self.retrieve(prompt, lost, Some(response.len()))?;
        let contexts = &retrieval.contexts;
        let adapter = self.adapter();
        let contrast = self.contrast_under(config);
        contrast.map_or(Ok(()), keeps_tail)?;
        let branches: Vec<Branch<'_>> = [Some((&sequence.context, adapter))]
            .into_iter()
            .chain([contexts.retrieval.as_ref().map(|with| (with, adapter))])
            .chain([contrast.map(|_| (&sequence.context, None))])
            .flatten()
            .map(|(context, adapter)| (context.as_slice(), adapter))
            .collect();
        if branches.len() == 1 {
            let adapter = model.score(&[(sequence, adapter)])?.pop().unwrap_or_default();
            check_scores(&adapter, response)?;
            return Ok(FusedScore {
                fused: adapter.clone(),
                adapter,
                open: false,
                retrieval_share: 0.0,
            });
        }
        let open = contexts.retrieval.is_some();
        let weights = match open {
            true => Some(config.fusion.lambda.weights(2, Some(&retrieval.gate))?),
            false => None,
        };
        let mut mixture = config.fusion.init()?;
        let [mut contrasted, mut mixed] = [(); 2].map(|()| vec![0.0; model.info().vocabulary]);
        let mut score = FusedScore { adapter: vec![], fused: vec![], open, retrieval_share: 0.0 };
        let mut failure: Option<Error> = None;
        model.score_branches(&branches, response, &mut |position, log_probs| {
            if failure.is_some() {
                return Ok(());
            }
            let mut add = || -> Result<()> {
                let mut rows = rows(&log_probs, branches.len(), mixed.len())?;
                let token = token_at(response, position)?;
                score.adapter.push(rows[0][token as usize]);
                if let Some(contrast) = &contrast
                    && let Some(base) = rows.pop()
                {
                    contrast.apply(rows[0], base, &mut contrasted)?;
                    rows[0] = &contrasted;
                }
                let Some(weights) = &weights else {
                    score.fused.push(rows[0][token as usize]);
                    return Ok(());
                };
                let shares = mixture.mix(&rows, weights, &mut mixed)?.shares(&rows, token)?;
                score.fused.push(mixed[token as usize]);
                score.retrieval_share += f64::from(shares[1]) / response.len() as f64;
                Ok(())
            };
            failure = add().err();
            Ok(())
        })?;
        match failure {
            Some(error) => Err(error),
            None => Ok(score),
        }
    }
}

/// Refuses a contrast under which a text that is known has no finite log-likelihood.
fn keeps_tail(contrast: Contrast) -> Result<(), SettingError> {
    match contrast.tail {
        Tail::Drop => {
            let allowed = "\"keep\" where known texts are scored: of what is dropped, the \
                           likelihood is 0 and the loss infinite";
            Err(SettingError::new("fusion.contrast.tail", "\"drop\"", allowed))
        }
        _ => Ok(()),
    }
}
