//! How well texts are predicted: the loss of an adapter, and of the gated mixture.

use serde::{Deserialize, Serialize};
use spring_core::{
    Config, LanguageModel, StoredInteraction, UserModel,
    prompt::{Encoded, encode_pair},
};
use spring_lm::Adapter;

use crate::Result;

/// Negative log-likelihood summed over the responses of some texts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Loss {
    /// Nats, end tokens included.
    pub nats: f64,
    /// Response tokens, end tokens included.
    pub tokens: usize,
    /// UTF-8 bytes of the responses.
    pub bytes: usize,
    /// Texts.
    pub texts: usize,
}

impl Loss {
    /// A sum over some texts.
    pub fn new(nats: f64, tokens: usize, bytes: usize, texts: usize) -> Self {
        Self { nats, tokens, bytes, texts }
    }

    /// Nats per response token.
    pub fn per_token(&self) -> f64 {
        self.nats / self.tokens as f64
    }

    /// Nats per byte of the responses; comparable between tokenizers.
    pub fn per_byte(&self) -> f64 {
        self.nats / self.bytes as f64
    }

    /// exp of the nats per token.
    pub fn perplexity(&self) -> f64 {
        self.per_token().exp()
    }

    fn add(&mut self, log_likelihoods: &[f32], bytes: usize) {
        self.nats -= log_likelihoods.iter().map(|x| f64::from(*x)).sum::<f64>();
        self.tokens += log_likelihoods.len();
        self.bytes += bytes;
        self.texts += 1;
    }
}

impl std::iter::Sum for Loss {
    fn sum<I: Iterator<Item = Self>>(losses: I) -> Self {
        losses.fold(Self::default(), |a, b| Self {
            nats: a.nats + b.nats,
            tokens: a.tokens + b.tokens,
            bytes: a.bytes + b.bytes,
            texts: a.texts + b.texts,
        })
    }
}

/// Encodes texts as the loop does.
///
/// # Errors
///
/// If the tokenizer refuses a text.
pub fn encode(
    model: &dyn LanguageModel,
    config: &Config,
    texts: &[StoredInteraction],
) -> Result<Vec<Encoded>> {
    let pairs = texts.iter().map(|text| {
        let (prompt, response) = (&text.interaction.prompt, &text.interaction.response);
        Ok(encode_pair(model, prompt, response, config.training.max_tokens)?)
    });
    pairs.collect()
}

/// The loss under each of some adapters (`None`: the base), all in one call.
///
/// # Errors
///
/// If the model refuses a text or an adapter.
pub fn losses(
    model: &dyn LanguageModel,
    adapters: &[Option<&Adapter>],
    texts: &[Encoded],
) -> Result<Vec<Loss>> {
    let rows: Vec<_> = adapters
        .iter()
        .flat_map(|adapter| texts.iter().map(|text| (&text.sequence, *adapter)))
        .collect();
    let scores = model.score(&rows).map_err(spring_core::Error::from)?;
    let mut losses = vec![Loss::default(); adapters.len()];
    for (i, tokens) in scores.iter().enumerate() {
        losses[i / texts.len()].add(tokens, texts[i % texts.len()].response_bytes);
    }
    Ok(losses)
}

/// The loss of the gated mixture, with the contrast where there is one, beside that of its adapter
/// alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FusedLoss {
    /// Under the mixture where the gate is open; where it is closed, under the adapter, contrasted
    /// with the base or not.
    pub fused: Loss,
    /// Under the mixture, over the texts whose gate is open.
    pub open_fused: Loss,
    /// Under the adapter alone, over the same texts.
    pub open_adapter: Loss,
    /// Nats by which the contrast with the base is below the adapter alone, over the texts whose
    /// gate is closed; 0 where nothing is contrasted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub closed_gain: f64,
}

fn is_zero(nats: &f64) -> bool {
    *nats == 0.0
}

impl FusedLoss {
    /// Of all texts, and twice of those whose gate is open: under the mixture and the adapter.
    pub fn new(fused: Loss, open_fused: Loss, open_adapter: Loss) -> Self {
        Self { fused, open_fused, open_adapter, closed_gain: 0.0 }
    }

    /// Of all texts under the adapter alone.
    pub fn adapter(&self) -> Loss {
        let Loss { nats, .. } = self.fused;
        let nats = nats - self.open_fused.nats + self.open_adapter.nats + self.closed_gain;
        Loss { nats, ..self.fused }
    }
}

/// Scores texts through retrieval, gate, contrast and mixture, teacher-forced.
///
/// # Errors
///
/// If a setting is out of range or the model refuses a text.
pub fn fused_loss(
    model: &UserModel<'_>,
    texts: &[(&StoredInteraction, &Encoded)],
) -> Result<FusedLoss> {
    let mut loss = FusedLoss::default();
    for (text, encoded) in texts {
        let prompt = &text.interaction.prompt;
        let score = model.score(prompt, encoded)?;
        loss.fused.add(&score.fused, encoded.response_bytes);
        if score.open {
            loss.open_fused.add(&score.fused, encoded.response_bytes);
            loss.open_adapter.add(&score.adapter, encoded.response_bytes);
        } else {
            let pairs = score.fused.iter().zip(&score.adapter);
            let gain = pairs.map(|(fused, adapter)| f64::from(*fused) - f64::from(*adapter));
            loss.closed_gain += gain.sum::<f64>();
        }
    }
    Ok(loss)
}
