#!/usr/bin/env bash
# rouge 1.0.1 (PyPI): a text that repeats itself without end keeps full marks.
#
# Expected: the clipped counts of ROUGE, so that words beyond the reference's count lower the
# precision; a loop of 100 rounds has a precision of 0.01.
# Seen: ROUGE-1 and ROUGE-2 compare sets of n-grams, and ROUGE-L the set of the words that are in
# any common subsequence. "i love it" a hundred times against "i love it" scores 1.00, 0.80 and
# 1.00 (ROUGE-1, 2 and L); rouge-score 0.1.2 gives 0.02, 0.01 and 0.02. ROUGE-L also gives 1.00
# for the right words in reverse, if each is a sentence of its own.
# It matters to whoever gates an update on ROUGE: looping is how small tuned models fail.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check \
    rouge==1.0.1 rouge-score==0.1.2 numpy==2.3.5
cd "$folder"
env/bin/python - <<'PYTHON'
from rouge import Rouge
from rouge_score.rouge_scorer import RougeScorer

names = ["rouge1", "rouge2", "rougeL"]


def scores(text, reference):
    peer = RougeScorer(names).score(reference, text)
    ours = Rouge().get_scores(text, reference)[0]
    sets = [round(ours[f"rouge-{name[-1].lower()}"]["f"], 2) for name in names]
    return sets, [round(peer[name].fmeasure, 2) for name in names]


loop = scores("i love it " * 100, "i love it")
print("a loop: rouge", loop[0], "rouge-score", loop[1])
assert loop == ([1.0, 0.8, 1.0], [0.02, 0.01, 0.02])
turned = scores("it. love. i.", "i. love. it.")
print("in reverse, one word a sentence: rouge", turned[0], "rouge-score", turned[1])
assert turned[0][2] == 1.0 and turned[1][2] == 0.33
PYTHON
