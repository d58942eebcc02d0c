#!/usr/bin/env bash
# lexicalrichness 0.5.1, msttr: the last segment is left out even when it is a whole one.
#
# Expected: "for a text size of 105 and a segment_window of 100, the last 5 tokens will be
# discarded", so nothing is where the size is a multiple of the window.
# Seen: the last segment goes in any case. Of 200 words in windows of 100 the second hundred does
# not count: 100 different words and 100 times "ok" have the highest value there is, 1.0, with
# one word more 0.505. Cutting a text to a round number of words, as is done to compare texts of
# different lengths, brings about the bad case. `discard=False` gives 0.505 for both.
# It matters to whoever compares how rich people's texts are, or watches answers that end in loops:
# the last words are the ones not looked at.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check \
    lexicalrichness==0.5.1 numpy==2.4.6 scipy==1.17.1 pandas==3.1.1 setuptools==80.9.0
cd "$folder"
env/bin/python -W ignore - <<'PYTHON'
from lexicalrichness import LexicalRichness

words = [f"word{i}" for i in range(100)] + ["ok"] * 100


def msttr(words, **settings):
    text = LexicalRichness(words, preprocessor=None, tokenizer=None)
    return round(text.msttr(segment_window=100, **settings), 3)


seen = {len(text): msttr(text) for text in (words, words + ["ok"])}
kept = msttr(words, discard=False)
print("by number of words:", seen, "and 200 with discard=False:", kept)
assert seen == {200: 1.0, 201: 0.505} and kept == 0.505
PYTHON
