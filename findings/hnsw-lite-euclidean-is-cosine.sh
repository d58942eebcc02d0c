#!/usr/bin/env bash
# hnsw-lite 0.1.3 (PyPI): an index with space="euclidean" searches by cosine distance.
#
# Expected: "Supports cosine and euclidean distance", as its documentation says, so with "euclidean"
# the nearest vector is the one with the smallest Euclidean distance.
# Seen: the space is stored and never read. For the query (2, 0.02) the point (100, 1), 98 away, is
# first, since it has the same direction; (1, 0), which is 1 away, comes second. The results of
# "euclidean" and "cosine" are the same for any data. The distances come back negative: -0.048.
# It matters to whoever indexes embeddings whose length means something, or compares the distances
# with a threshold: all of them are below it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check hnsw-lite==0.1.3 numpy==2.3.5
cd "$folder"
env/bin/python - <<'PYTHON'
import numpy as np
from hnsw import HNSW
from node import Node


def search(space, points, query, count):
    np.random.seed(0)
    index = HNSW(space=space, M=16, ef_construction=100)
    for name, point in enumerate(points):
        index.insert(list(point), {"name": name})
    found = index.knn_search(Node(query, 0), count)
    return [(node.metadata["name"], round(float(distance), 3)) for distance, node in found]


points = np.array([[1.0, 0.0], [100.0, 1.0], [0.9, 0.3]])
query = np.array([2.0, 0.02])
exact = np.linalg.norm(points - query, axis=1).round(3)
print("Euclidean distances:", dict(enumerate(exact.tolist())))
found = search("euclidean", points, query, 3)
print("found:", found)
assert [name for name, _ in found] == [1, 0, 2]
assert exact.argmin() == 0 and exact.argmax() == 1
assert found[2][1] == -0.048

random = np.random.default_rng(0)
many = random.normal(size=(200, 4)) * random.uniform(0.1, 10, size=(200, 1))
lists = {space: search(space, many, many[7] * 3, 10) for space in ("euclidean", "cosine")}
nearest = np.linalg.norm(many - many[7] * 3, axis=1).argsort()[:10].tolist()
print("of 200 points:", [name for name, _ in lists["euclidean"]], "exact:", nearest)
assert lists["euclidean"] == lists["cosine"]
assert {name for name, _ in lists["euclidean"]} != set(nearest)
PYTHON
