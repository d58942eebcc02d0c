#!/usr/bin/env bash
# bm25s 0.3.16 and rank-bm25 0.2.2, BM25+: its delta never changes a ranking.
#
# Expected (Lv and Zhai 2011): delta is added for each query word that a document has, so that a
# long document with the word stays ahead of a short one without it.
# Seen: documents without the word get it as well. Every score is the plain one plus the same sum
# over the query, so all documents rank as with a delta of 0, and those that have no word of the
# query score above 0. With delta as published, at its default of 1, a long document with both
# words overtakes a short one with one of them.
# It matters to whoever picks BM25+ for a person's texts of very different lengths, or takes a
# score above 0 for a match.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check \
    bm25s==0.3.16 rank-bm25==0.2.2 numpy==2.3.5
cd "$folder"
env/bin/python - <<'PYTHON'
import bm25s
import numpy as np
from rank_bm25 import BM25Plus

rng = np.random.default_rng(0)
corpus = [["a", "b"] + ["x"] * 500, ["a"] + ["x"] * 60, ["c"], ["c", "x"]]
corpus += [["x"] * int(n) for n in rng.integers(1, 20, 8)]
query = ["a", "b"]


def by_bm25s(delta):
    index = bm25s.BM25(method="bm25+", delta=delta, k1=1.5, b=0.75)
    index.index(corpus, show_progress=False)
    return index.get_scores(query)


def by_rank_bm25(delta):
    return np.array(BM25Plus(corpus, delta=delta, k1=1.5, b=0.75).get_scores(query))


def published(delta):
    lengths = np.array([len(words) for words in corpus])
    total = np.zeros(len(corpus))
    for word in query:
        counts = np.array([words.count(word) for words in corpus])
        idf = np.log((len(corpus) + 1) / (counts > 0).sum())
        share = counts * 2.5 / (counts + 1.5 * (0.25 + 0.75 * lengths / lengths.mean()))
        total += idf * np.where(counts > 0, share + delta, 0)
    return total


order = lambda scores: np.argsort(-scores, kind="stable").tolist()
assert np.allclose(by_bm25s(0), published(0), atol=1e-4)
assert np.allclose(by_rank_bm25(0), published(0), atol=1e-4)
for name, scores in (("bm25s", by_bm25s), ("rank-bm25", by_rank_bm25), ("published", published)):
    first = {delta: order(scores(delta))[:2] for delta in (0, 1, 50)}
    print(f"{name}: first two for delta 0, 1 and 50: {first}; without a word: {scores(1)[2]:.2f}")
    shift = scores(50) - scores(0)
    if name == "published":
        assert first[0] == [1, 0] and first[1] == [0, 1] and scores(1)[2] == 0
    else:
        assert np.allclose(shift, shift[0], rtol=1e-4) and shift[0] > 1 and scores(1)[2] > 1
        assert first[0] == first[1] == first[50] == [1, 0]
PYTHON
