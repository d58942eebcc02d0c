#!/usr/bin/env bash
# lexical-diversity 0.1.1: the MTLD of a text in which no word comes twice is 0, the least there is.
#
# Expected: the more diverse, the higher; MTLD (McCarthy and Jarvis 2010) is the mean length of the
# stretches that keep the ratio of types to tokens above 0.72, so a text that never falls below it
# is at the upper end. lexicalrichness 0.5.1 gives the number of the words then.
# Seen: no factor was completed, and the division by none gives 0. 60 different words have 0, one
# word said 60 times has 7.3, and 60 words of which one comes twice have 1008. The moving average
# `mtld_ma_bid` is 0 for any text that stays above 0.72, also with some repeats. And `tokenize`
# joins "well-known" to one word and takes a line break at the end for an empty one.
# It matters to whoever compares a person's short messages or a model's answers: the most diverse
# of them pull the mean down.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check \
    lexical-diversity==0.1.1 lexicalrichness==0.5.1 setuptools==65.5.0
cd "$folder"
env/bin/python -W ignore - <<'PYTHON'
from lexical_diversity import lex_div as ld
from lexicalrichness import LexicalRichness

different = [f"word{i}" for i in range(60)]
texts = {
    "all different": different,
    "one comes twice": different[:30] + ["word1"] + different[31:],
    "each fifth the same": ["the" if i % 5 == 0 else word for i, word in enumerate(different)],
    "always the same": ["the"] * 60,
}
seen = {}
for name, text in texts.items():
    seen[name] = [round(f(text), 1) for f in (ld.mtld, ld.mtld_ma_bid)]
    peer = round(LexicalRichness(text, preprocessor=None, tokenizer=None).mtld(), 1)
    print(f"{name}: mtld {seen[name][0]}, mtld_ma_bid {seen[name][1]}, lexicalrichness {peer}")
    assert peer == 60 or name != "all different"
assert seen["all different"] == [0, 0]
assert seen["one comes twice"] == [1008.0, 0]
assert seen["each fifth the same"][0] > 0 == seen["each fifth the same"][1]
assert seen["always the same"] == [7.3, 10.0]
words = ld.tokenize("A well-known end.\n")
print(words)
assert words == ["a", "wellknown", "end", ""]
PYTHON
