//! Drift scores from log-likelihoods, and the selection of what to learn from.
