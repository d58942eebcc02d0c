#!/usr/bin/env bash
# rank-bm25 0.2.2, BM25Okapi: in a small corpus the documents that match score below those that
# do not.
#
# Expected: negative inverse document frequencies are floored at a small positive value (epsilon
# times the mean), so a match never counts against a document.
# Seen: the mean itself is negative when most words are common, and the floor is then negative
# too. With the word in two of three documents, both score -0.16 and the third 0. A single
# document that contains the query's only word scores -0.27.
# It matters to whoever retrieves from a new user's few texts, and to gates that ask for a score
# above 0: they stay closed for exactly the words that all texts share.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check rank-bm25==0.2.2 numpy==2.4.6
cd "$folder"
env/bin/python - <<'PYTHON'
from rank_bm25 import BM25Okapi

scores = BM25Okapi([["a", "b"], ["a", "b"], ["c", "b"]]).get_scores(["a"])
print("'a' in two of three:", scores.round(4).tolist())
assert scores[0] == scores[1] < scores[2] == 0.0
assert abs(scores[0] + 0.16216) < 1e-4
alone = BM25Okapi([["a", "b"]]).get_scores(["a"])
print("one document:", alone.round(4).tolist())
assert abs(alone[0] + 0.27465) < 1e-4
PYTHON
