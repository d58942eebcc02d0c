#!/usr/bin/env bash
# bm25comp 0.1.1 (PyPI): a document that is added again under its key is found by its old words,
# and better than before.
#
# Expected: a key is a "document identifier", so adding under it replaces the document, or fails.
# Seen: the counts of the old words stay, the length is that of the new text, and the number of
# documents goes up. "tea tea tea with lemon", replaced by "juice", is still the best for "tea",
# with three of it in a document of one word, and scores 2.36 (1.40 when first added). The number of
# documents is 4 for 3, which raises the weights of all other words, too. The keys 1 and "1" are
# two documents, and in the file both are "1".
# It matters to whoever rebuilds an index from a person's edited notes: what was deleted from a
# note is what it is found by.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check bm25comp==0.1.1
cd "$folder"
env/bin/python - <<'PYTHON'
from bm25comp import BM25Builder, BM25Reader


def index(documents):
    builder = BM25Builder()
    for key, text in documents:
        builder.add(key, text)
    builder.build()
    builder.save("index.bin")
    reader = BM25Reader()
    reader.load("index.bin")
    return reader


def found(reader, word):
    return [(key, round(score, 2)) for key, score in reader.search(word)]


old, new = ("note", "tea tea tea with lemon"), ("note", "juice")
others = [("b", "coffee and milk"), ("c", "water")]
seen = {}
for name, documents in (
    ("first", [old, *others]),
    ("added again", [old, *others, new]),
    ("new alone", [new, *others]),
):
    reader = index(documents)
    seen[name] = {word: found(reader, word) for word in ("tea", "juice", "water")}
    print(name, reader.num_docs, "documents:", seen[name])
assert reader.num_docs == 3 and index([old, *others, new]).num_docs == 4
assert seen["new alone"]["tea"] == []
assert seen["added again"]["tea"] == [("note", 2.36)]
assert seen["first"]["tea"][0][1] < 2.36
assert seen["added again"]["water"][0][1] > seen["new alone"]["water"][0][1]
assert found(index([(1, "tea"), ("1", "juice")]), "tea") == [("1", 0.69)]
PYTHON
