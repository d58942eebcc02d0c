#!/usr/bin/env bash
# weightreservoir 1.0 (PyPI): with small weights the sample is the beginning of the stream.
#
# Expected: "each sample will be selected according to their weights", so only what weights are to
# each other counts: weights that are all equal give a uniform sample, be they 1 or 0.000001.
# Seen: the key of an item is a random number to the power of 1 / weight, in double precision. With
# weights of 0.00001 nearly all keys are 0, and an item whose key is not above the lowest is never
# taken in. Of 1000 items with equal weights 100 are kept; 10 of them are from the first 100 at a
# weight of 1, 36 at 0.0001, 93 at 0.00001 and 99 at 0.000001. With weights of 1e17 it is 98, as all
# keys are 1 then.
# It matters to whoever keeps a person's most telling texts by normalised weights, which sum to 1:
# of a long stream nothing new is learned.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check \
    weightreservoir==1.0 numpy==2.4.6
cd "$folder"
env/bin/python - <<'PYTHON'
import numpy as np
from weightreservoir import reservoir


def early(weight, size=100, length=1000, runs=20):
    """How many of the kept items are among the first `size`, the mean of `runs`."""
    total = 0
    for seed in range(runs):
        np.random.seed(seed)
        sample = reservoir.WeightSampling(size=size)
        sample.addAll(range(length), [weight] * length)
        total += sum(item < size for item in sample.get())
    return total / runs


seen = {weight: early(weight) for weight in (1.0, 1e-3, 1e-4, 1e-5, 1e-6, 1e17)}
normalised = early(1 / 20000, size=2000, length=20000, runs=3) / 2000
print(f"2000 of 20000, weights that sum to 1: {normalised:.2f} are from the first tenth")
print("of 100 kept, from the first 100 of 1000:", seen)
assert 8 < seen[1.0] < 12 and seen[1e-3] == seen[1.0]
assert 30 < seen[1e-4] < 42
assert seen[1e-5] > 90 and seen[1e-6] > 98 and seen[1e17] > 95
assert 0.55 < normalised < 0.75
PYTHON
