#!/usr/bin/env bash
# nltk 3.10.4, METEOR: words in the wrong order can score above the same words in the right order.
#
# Expected: of all alignments the one with the fewest chunks, as METEOR is defined (a chunk is a
# run of words that stand side by side in both texts), so that a text that begins like the
# reference is one chunk.
# Seen: each word is aligned to the last free one like it in the reference. "the" of "the cat sat
# on" goes to "the mat", which makes two chunks of four words (0.65), while the scrambled "cat sat
# on the" is one chunk (0.68). "the cat sat" has two chunks of three and 0.45, where one chunk would
# give 0.52. Where no word of the reference repeats, the order counts as it should.
# The words of a text that repeats are its commonest, so scores are too low by varying amounts.
# It matters to whoever compares adapters on METEOR, which the benchmarks of personalized text
# generation report: part of the difference is which copies of "the" were paired.
# (No dictionary of synonyms is used here: exact and stemmed words are enough to see it.)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check nltk==3.10.4
cd "$folder"
env/bin/python - <<'PYTHON'
from nltk.translate.meteor_score import align_words, single_meteor_score


class NoSynonyms:
    def synsets(self, word):
        return []


def score(text, reference):
    words = text.split(), reference.split()
    pairs = align_words(*words, wordnet=NoSynonyms())[0]
    value = single_meteor_score(words[1], words[0], wordnet=NoSynonyms())
    steps = [(b[0] - a[0], b[1] - a[1]) for a, b in zip(pairs, pairs[1:])]
    chunks = 1 + sum(step != (1, 1) for step in steps)
    print(f"{text!r}: {value:.4f}, {chunks} chunks, aligned {pairs}")
    return round(value, 4), chunks


def with_chunks(matched, length, chunks):
    precision, recall = 1.0, matched / length
    mean = precision * recall / (0.9 * precision + 0.1 * recall)
    return round(mean * (1 - 0.5 * (chunks / matched) ** 3), 4)


reference = "the cat sat on the mat"
right, wrong = score("the cat sat on", reference), score("cat sat on the", reference)
assert right[1] == 2 and wrong[1] == 1 and right[0] < wrong[0]
assert wrong[0] == with_chunks(4, 6, 1) and right[0] == with_chunks(4, 6, 2)
short = score("the cat sat", reference)
assert short == (with_chunks(3, 6, 2), 2)
print("as one chunk it would be", with_chunks(3, 6, 1))
distinct = "a cat sat on the mat"
assert score("a cat sat on", distinct)[0] > score("cat sat on a", distinct)[0]
PYTHON
