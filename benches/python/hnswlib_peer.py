"""Nearest neighbours by hnswlib, one thread, cosine."""

import time
from importlib.metadata import version

import worker

try:
    import hnswlib
    import numpy
except ImportError as error:
    worker.missing("hnswlib", error)

TASK = worker.task()
numbers = numpy.fromfile(TASK["vectors"], dtype="<f4").reshape(-1, TASK["dimensions"])
vectors, queries = numbers[: TASK["count"]], numbers[TASK["count"] :]
truth = TASK["truth"]
k = len(truth[0])

index = hnswlib.Index(space="cosine", dim=TASK["dimensions"])
index.init_index(len(vectors), M=TASK["links"], ef_construction=TASK["ef_construction"], random_seed=1)
begin = time.perf_counter()
index.add_items(vectors, num_threads=1)
building = time.perf_counter() - begin


def run():
    parts, facts = [["build", building]], []
    for ef in TASK["ef_search"]:
        index.set_ef(ef)
        begin = time.perf_counter()
        # All at once: a call for each would add Python's own time.
        found, _ = index.knn_query(queries, k, num_threads=1)
        parts.append([f"ef {ef}", time.perf_counter() - begin])
        hits = sum(len(set(row) & set(exact)) for row, exact in zip(found.tolist(), truth))
        facts.append([f"recall, ef {ef}", hits / (k * len(truth))])
    return parts, [], facts


worker.serve(f"hnswlib {version('hnswlib')}", run)
