#!/usr/bin/env bash
# tokenizers 0.23.3: with a byte-level decoder an added token such as "Zoë" is decoded to "Zo" and
# U+FFFD.
#
# Expected: an added token is text, so decoding its id gives that text back.
# Seen: the decoder maps its characters through the byte alphabet, in which "ë" stands for the
# byte EB, no UTF-8 by itself. This happens when every character is in that alphabet, which has
# most of Latin-1; "日本" and "naïve, 日" have one outside and come back whole. The token "Ġ"
# becomes a space. Ordinary text is not touched: "Zoë" without the added token survives.
# It matters to whoever adds names of people or of a domain to a byte-level vocabulary: German,
# French and Spanish names break, English and Japanese ones do not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check tokenizers==0.23.3
cd "$folder"
env/bin/python - <<'PYTHON'
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers


def decoded(text, added):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(["hello world"], trainer)
    if added:
        tokenizer.add_tokens([AddedToken(text, normalized=False)])
    encoding = tokenizer.encode(f"hi {text}!")
    assert (text in encoding.tokens) == added
    return tokenizer.decode(encoding.ids)


seen = {}
for name in ("Zoë", "Müller", "Ann", "日本", "naïve, 日"):
    seen[name] = decoded(name, True)
    print(f"{name}: {decoded(name, False)!r} as plain text, {seen[name]!r} as an added token")
    assert decoded(name, False) == f"hi {name}!"
assert seen["Zoë"] == "hi Zo\ufffd!" and seen["Müller"] == "hi M\ufffdller!"
assert all(seen[name] == f"hi {name}!" for name in ("Ann", "日本", "naïve, 日"))
PYTHON
