//! GFLOP/s of the matrix products of the built-in model, by burn's CPU backend on one thread.
//!
//! RAYON_NUM_THREADS=1 cargo run --release -p spring-model --example products
//!
//! `benches/python/products.py` prints the same of OpenBLAS and MKL.

#![allow(clippy::print_stdout)]

use std::time::Instant;

use burn::{
    backend::Flex,
    tensor::{Distribution, Tensor},
};

/// Keeps freed memory for the next tensor, as the program does.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SHAPES: [(&str, [usize; 3]); 4] = [
    ("a projection, 1024 x 256 x 256", [1024, 256, 256]),
    ("the feed-forward layer, 1024 x 256 x 704", [1024, 256, 704]),
    ("the head, 1024 x 256 x 4096", [1024, 256, 4096]),
    ("attention's scores, 64 x 32 x 512", [64, 32, 512]),
];

fn main() {
    println!("| product | burn-flex |\n|---|---|");
    for (name, [m, k, n]) in SHAPES {
        let random =
            |shape| Tensor::<Flex, 2>::random(shape, Distribution::Default, &Default::default());
        let (x, weight) = (random([m, k]), random([n, k]));
        let seconds = (0..100).map(|_| {
            let start = Instant::now();
            drop(x.clone().matmul(weight.clone().transpose()));
            start.elapsed().as_secs_f64()
        });
        let best = seconds.fold(f64::INFINITY, f64::min);
        println!("| {name} | {:.0} |", 2e-9 * (m * n * k) as f64 / best);
    }
}
