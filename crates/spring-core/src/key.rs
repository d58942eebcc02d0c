//! Keyed randomness: every random choice depends on its key alone, never on what ran before it.

pub use spring_numerics::key::seed;
