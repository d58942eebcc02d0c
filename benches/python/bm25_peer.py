"""BM25 by rank_bm25."""

import time
from importlib.metadata import version

import worker

try:
    import numpy
    from rank_bm25 import BM25Okapi
except ImportError as error:
    worker.missing("rank_bm25", error)

TASK = worker.task()


def run():
    begin = time.perf_counter()
    index = BM25Okapi([document.split() for document in TASK["documents"]])
    built = time.perf_counter()
    result = []
    for query in TASK["queries"]:
        scores = index.get_scores(query.split())
        # As its `get_top_n`, which gives the documents without their scores.
        best = numpy.argsort(scores)[::-1][: TASK["k"]]
        result.append(scores[best])
    end = time.perf_counter()
    return [["index", built - begin], ["search", end - built]], numpy.concatenate(result).tolist(), []


worker.serve(f"rank_bm25 {version('rank_bm25')}", run)
