//! Generated streams of novelties with known change points, to measure detectors on.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How the level of a generated stream moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scenario {
    /// Not at all.
    None,
    /// It rises at once, half way, and stays.
    Sudden,
    /// It rises in a straight line from the middle of the stream to three quarters, and stays.
    Gradual,
    /// It rises and falls back every quarter: up, down, up.
    Recurring,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::None, Self::Sudden, Self::Gradual, Self::Recurring];

    /// Where the level begins to move, with whether it rises.
    pub fn changes(self, length: usize) -> Vec<(usize, bool)> {
        match self {
            Self::None => Vec::new(),
            Self::Sudden | Self::Gradual => vec![(length / 2, true)],
            Self::Recurring => {
                vec![(length / 4, true), (length / 2, false), (length * 3 / 4, true)]
            }
        }
    }

    /// The level at `position`, from 0 (old) to 1 (new).
    fn level(self, position: usize, length: usize) -> f64 {
        let along = position as f64 / length as f64;
        match self {
            Self::None => 0.0,
            Self::Sudden => f64::from(position >= length / 2),
            Self::Gradual => ((along - 0.5) * 4.0).clamp(0.0, 1.0),
            Self::Recurring => f64::from((position * 4 / length) % 2 == 1),
        }
    }
}

/// What a generated stream is made of, in nats per token.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct StreamConfig {
    /// How the level moves.
    pub scenario: Scenario,
    /// Number of novelties.
    pub length: usize,
    /// Mean novelty before any change; below 0 where the adapter knows the person.
    pub level: f64,
    /// What a change adds to the mean.
    pub shift: f64,
    /// Standard deviation between texts, the same before and after.
    pub spread: f64,
    /// Share of odd texts, which lie up to six spreads above the level.
    pub odd: f64,
}

spring_numerics::setters! {
    StreamConfig {
        with_length(length: usize);
        with_level(level: f64);
        with_shift(shift: f64);
        with_spread(spread: f64);
        with_odd(odd: f64);
    }
}

impl StreamConfig {
    /// A scenario with 400 texts, a spread of 0.3, 3 % odd ones, and a shift by one spread.
    pub fn new(scenario: Scenario) -> Self {
        Self { scenario, length: 400, level: -0.4, shift: 0.3, spread: 0.3, odd: 0.03 }
    }

    /// The stream for one seed.
    pub fn generate(&self, seed: u64) -> Vec<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut novelty = |position| {
            let level = self.level + self.shift * self.scenario.level(position, self.length);
            // The sum of twelve uniform numbers: a bell curve of standard deviation 1.
            let bell: f64 = (0..12).map(|_| rng.random_range(-0.5..0.5)).sum();
            let odd = if rng.random::<f64>() < self.odd { rng.random_range(2.0..6.0) } else { 0.0 };
            level + self.spread * (bell + odd)
        };
        (0..self.length).map(&mut novelty).collect()
    }
}
