#!/usr/bin/env bash
# tokenizers 0.23.3: a token added to a vocabulary with gaps in its ids gets an id that another
# token has.
#
# Expected: an id that is free: one after the largest, or one of a gap.
# Seen: the first new id is the number of entries of the vocabulary, the next ones count on from
# there, whoever has them. Three tokens with the ids 0, 1 and 3 make "<|anna|>" a second id 3:
# encoding gives 3 for both, decoding gives "<|anna|>" for both, and `get_vocab` lists two tokens
# of one id. Saving and loading keeps it so. Nothing is said. Without a gap all is well.
# It matters to whoever adds a token for a user or a chat template: vocabularies with gaps are
# common (ids kept free or taken out by pruning), and the new token's row is then trained over
# another word's.
# What to do: fill the gaps with placeholders before adding, and check that the id was free.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check tokenizers==0.23.3
cd "$folder"
env/bin/python - <<'PYTHON'
from tokenizers import Tokenizer
from tokenizers.models import BPE, WordLevel
from tokenizers.pre_tokenizers import Whitespace


def check(name, model, expected):
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = Whitespace()
    added = tokenizer.add_tokens(["<|anna|>"])
    for tokenizer in (tokenizer, Tokenizer.from_str(tokenizer.to_str())):
        new, old = tokenizer.token_to_id("<|anna|>"), tokenizer.token_to_id("c")
        ids = tokenizer.encode("a <|anna|> c").ids
        back = tokenizer.decode([old], skip_special_tokens=False)
        print(f"{name}: {added} added, id {new}, c has {old}; ids {ids}, {old} decodes to {back}")
        assert (new, old, back) == expected and ids == [0, new, old]


vocabulary = {"a": 0, "b": 1, "c": 3}
for name, model in (("WordLevel", WordLevel), ("BPE", lambda words: BPE(words, []))):
    check(name + " with a gap", model(dict(vocabulary)), (3, 3, "<|anna|>"))
    check(name + " without", model(vocabulary | {"c": 2}), (3, 2, "c"))
PYTHON
