//! The relevance gate, mixtures of next-token distributions, penalties and samplers.
