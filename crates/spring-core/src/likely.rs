//! How likely a token was, and what else was.

/// How likely a token was under the model, before penalties and temperature.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Likely {
    /// Log-probability of the token, nats.
    pub log_prob: f32,
    /// The likeliest tokens with their log-probabilities, likeliest first.
    pub top: Vec<(u32, f32)>,
}

impl Likely {
    /// Of a token and the `top` likeliest, equal ones by their ids.
    pub(crate) fn of(log_probs: &[f32], token: u32, top: usize) -> Self {
        let mut all: Vec<(u32, f32)> = (0..).zip(log_probs.iter().copied()).collect();
        let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        let top = top.min(all.len());
        if top < all.len() {
            all.select_nth_unstable_by(top, order);
            all.truncate(top);
        }
        all.sort_unstable_by(order);
        let log_prob = log_probs.get(token as usize).copied().unwrap_or(f32::NEG_INFINITY);
        Self { log_prob, top: all }
    }
}
