#!/usr/bin/env bash
# usearch 2.26.6: with dtype i8 every float vector is scaled to length 1 first, whatever the metric.
#
# Expected: 8-bit storage rounds components; Euclidean distance still sees lengths.
# Seen: x, 2x and 100x are stored as the same bytes, so their squared Euclidean distance is 0 and
# the inner product is the cosine. The same search with f32 orders the vectors otherwise.
# It matters to whoever saves memory on embeddings whose length means something.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check usearch==2.26.6 numpy==2.4.6
cd "$folder"
env/bin/python - <<'PYTHON'
import numpy as np
from usearch.index import Index

x = np.random.default_rng(0).normal(size=16).astype(np.float32)
stored = {}
for dtype in ("f32", "i8"):
    index = Index(ndim=16, metric="l2sq", dtype=dtype)
    index.add(np.array([1, 2, 100]), np.stack([x, 2 * x, 100 * x]))
    found = index.search(x, 3)
    stored[dtype] = {int(k): float(d) for k, d in zip(found.keys, found.distances)}
    print(dtype, stored[dtype])
assert stored["i8"] == {1: 0.0, 2: 0.0, 100: 0.0}
assert stored["f32"][1] == 0.0 < stored["f32"][2] < stored["f32"][100]
PYTHON
