"""GFLOP/s of the matrix products of the 5 M model, by numpy's OpenBLAS and torch's MKL on one thread.

python benches/python/products.py
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import time

import numpy
import torch

torch.set_num_threads(1)

SHAPES = {
    "a projection, 1024 x 256 x 256": (1024, 256, 256),
    "the feed-forward layer, 1024 x 256 x 704": (1024, 256, 704),
    "the head, 1024 x 256 x 4096": (1024, 256, 4096),
    "attention's scores, 64 x 32 x 512": (64, 32, 512),
}


def best(work):
    seconds = []
    for _ in range(100):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


print("| product | OpenBLAS | MKL |\n|---|---|---|")
for name, (m, k, n) in SHAPES.items():
    x, w = numpy.ones((m, k), numpy.float32), numpy.ones((n, k), numpy.float32)
    out = numpy.empty((m, n), numpy.float32)
    tx, tw, tout = torch.ones(m, k), torch.ones(n, k), torch.empty(m, n)
    times = [best(lambda: numpy.matmul(x, w.T, out=out)), best(lambda: torch.matmul(tx, tw.T, out=tout))]
    print(f"| {name} |", " | ".join(f"{2e-9 * m * n * k / t:.0f}" for t in times), "|")
