#!/usr/bin/env bash
# faststylometry 1.0.5: calibrating one corpus changes the probabilities of every other.
#
# Expected: `calibrate(corpus)` fits a model for that corpus and keeps it there, as the attribute
# `probability_model` tells.
# Seen: the logistic regression is a default argument, made once: all corpora hold the same object,
# fitted to the one that was calibrated last. A text is by its author with a probability of 0.86;
# after another corpus was calibrated the same call says 0.44. With a model of its own given to
# `calibrate` it stays.
# It matters to whoever asks of several groups of people who wrote what in one process: all answers
# but the last group's are on the wrong scale.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check \
    faststylometry==1.0.5 numpy==2.4.6 pandas==3.1.1 scikit-learn==1.9.1
cd "$folder"
env/bin/python -W ignore - <<'PYTHON'
import numpy as np
from faststylometry import Corpus, calibrate, predict_proba
from sklearn.linear_model import LogisticRegression

first, second = ("ka", "mo", "ti", "ru", "sel"), ("na", "to", "mi", "per", "lun", "dor", "vis")
words = [a + b for a in first for b in second]


def corpus(seed, spread, authors=4, books=4, length=800):
    """Texts of made-up words, which authors use more differently the larger `spread` is."""
    random = np.random.default_rng(seed)
    texts = Corpus()
    for author in range(authors):
        share = np.exp(spread * random.normal(size=len(words)))
        for book in range(books):
            text = random.choice(words, size=length, p=share / share.sum())
            texts.add_book(f"author {author}", f"book {book}", " ".join(text))
    texts.tokenise(str.split)
    return texts


def asked(texts):
    unknown = Corpus()
    unknown.add_book("unknown", "text", texts.texts[0])
    unknown.tokenise(str.split)
    return predict_proba(texts, unknown).iloc[:, 0].round(2).tolist()


alike, unlike = corpus(1, 0.3), corpus(2, 2.0)
calibrate(alike)
before = asked(alike)
calibrate(unlike)
after = asked(alike)
print("before:", before, "after another corpus was calibrated:", after)
assert alike.probability_model is unlike.probability_model
assert before[0] == max(before) > 0.7 and max(after) < 0.5

calibrate(alike, LogisticRegression(class_weight="balanced"))
calibrate(unlike, LogisticRegression(class_weight="balanced"))
assert asked(alike) == before
PYTHON
