//! Small indexes that several tests search.

#![allow(dead_code, reason = "each test file uses a part of it")]

use spring_memory::{DenseConfig, DenseIndex, Hit};

/// A small reproducible stream of numbers in −1..1 (a linear congruential generator, upper bits).
pub struct Numbers(pub u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    pub fn vector(&mut self, dimensions: usize) -> Vec<f32> {
        (0..dimensions).map(|_| self.next()).collect()
    }
}

pub fn small_graph() -> DenseConfig {
    DenseConfig::default()
        .with_exact_below(100)
        .with_links(8)
        .with_ef_construction(40)
        .with_ef_search(40)
}

pub fn filled(config: DenseConfig, keys: impl IntoIterator<Item = u64>) -> DenseIndex {
    let mut numbers = Numbers(1);
    let mut index = DenseIndex::new(8, config).expect("settings in range");
    for key in keys {
        index.add(key, &numbers.vector(8)).expect("a good vector");
    }
    index
}

pub fn queries(count: usize) -> Vec<Vec<f32>> {
    let mut numbers = Numbers(2);
    (0..count).map(|_| numbers.vector(8)).collect()
}

pub fn answers(index: &DenseIndex) -> Vec<Vec<Hit>> {
    queries(30)
        .iter()
        .map(|query| index.search(query, 10, |_| true).expect("a good query"))
        .collect()
}
