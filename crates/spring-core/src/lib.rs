//! The SPRInG loop: score, select, adapt, remember, generate, over durable per-user state.
