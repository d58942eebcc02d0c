#!/usr/bin/env bash
# tokenizers 0.23.3 and transformers 5.24.0: adding a token that the vocabulary has already changes
# how other words are tokenized.
#
# Expected: nothing happens and 0 comes back: "Tokens are only added if they are not already in
# the vocabulary", says the documentation of transformers, and that of tokenizers means the same.
# Seen: 1 comes back though the vocabulary stays as large, and from now on the word is cut out of
# every text before the model sees it: after adding "the", "other" is o|the|r instead of one token.
# The same happens when the word is named as the padding or end token of a tokenizer, and decoding
# with skip_special_tokens then gives "or mor" for "the other mother".
# It matters to whoever adds names or words of a user to be safe: a tuned model sees its old words
# in pieces that it never learnt. `single_word=True` leaves the other words whole.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check \
    tokenizers==0.23.3 transformers==5.24.0
cd "$folder"
env/bin/python - 2> log <<'PYTHON'
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

text = "the other mother"
whole = ["the", "Ġother", "Ġmother"]
pieces = ["the", "Ġ", "o", "the", "r", "Ġ", "m", "o", "the", "r"]


def trained():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([text + " and the father gather here"] * 50, trainer)
    return tokenizer


plain = trained()
before, size = plain.encode(text).tokens, plain.get_vocab_size()
count = plain.add_tokens(["the"])
print(before, "then", count, "added:", plain.encode(text).tokens)
assert before == whole and plain.encode(text).tokens == pieces
assert count == 1 and plain.get_vocab_size() == size

outer = PreTrainedTokenizerFast(tokenizer_object=trained())
count = outer.add_tokens(["the"])
print("transformers:", count, "added,", len(outer), "tokens:", outer.tokenize(text))
assert count == 1 and len(outer) == size and outer.tokenize(text) == pieces

ending = PreTrainedTokenizerFast(tokenizer_object=trained(), eos_token="the")
decoded = ending.decode(ending(text).input_ids, skip_special_tokens=True)
print("as end token:", repr(decoded))
assert decoded.split() == ["or", "mor"]

single = PreTrainedTokenizerFast(tokenizer_object=trained())
single.add_tokens([AddedToken("the", single_word=True)])
assert single.tokenize(text) == whole
PYTHON
