//! Whether an update did what it was for.

/// Mean loss of the texts that a period trained on, in nats per token, each text with the same
/// weight.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Fit {
    /// Under the memories that the period started from: their adapter, or the base alone.
    pub before: f64,
    /// Under the new adapter.
    pub after: f64,
    /// The number of texts.
    pub texts: usize,
}

impl Fit {
    /// What dropout and the last bits of a sum may make worse, in nats per token.
    const TOLERANCE: f64 = 1e-3;

    /// Whether the update did harm by its own measure: a finite divergence, which no gradient that
    /// is NaN gives away.
    pub fn is_worse(&self) -> bool {
        self.texts > 0 && (self.after.is_nan() || self.after > self.before + Self::TOLERANCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_is_worse_when_it_explains_what_it_learned_worse() {
        let fit = |before, after, texts| Fit { before, after, texts }.is_worse();
        assert!(!fit(3.0, 2.5, 4) && !fit(3.0, 3.0005, 4));
        assert!(fit(3.0, 3.01, 1) && fit(3.0, f64::NAN, 4) && fit(3.0, f64::INFINITY, 4));
        // Nothing was selected, so nothing was trained.
        assert!(!fit(0.0, 0.0, 0));
    }
}
