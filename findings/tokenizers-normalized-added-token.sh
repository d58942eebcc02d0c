#!/usr/bin/env bash
# tokenizers 0.23.3: an added token with `normalized=True` loses its name; its id stands for the
# normalized text.
#
# Expected: normalization serves matching only, so that "Café" is also found in "cafe";
# `id_to_token(token_to_id("Café"))` is "Café", and decoding the id gives "Café".
# Seen: `token_to_id` knows "Café" and not "cafe", `id_to_token` and `decode` give "cafe", and
# `get_vocab` lists "Café". It stays so after saving and loading. With `normalized=False` the name
# is kept both ways.
# `normalized` is true by default for tokens that are not special.
# It matters to whoever adds a person's names to an uncased model, or maps ids to names by the
# vocabulary: the two directions disagree.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check tokenizers==0.23.3
cd "$folder"
env/bin/python - <<'PYTHON'
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

assert AddedToken("x").normalized and not AddedToken("x", special=True).normalized
for normalized in (True, False):
    made = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    made.normalizer = normalizers.Sequence(
        [normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase()]
    )
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.add_tokens([AddedToken("Café", normalized=normalized)])
    for tokenizer in (made, Tokenizer.from_str(made.to_str())):
        ids = tokenizer.encode("a Café").ids
        assert ids == [1, 2] and tokenizer.token_to_id("Café") == 2
        assert tokenizer.token_to_id("cafe") is None and tokenizer.get_vocab()["Café"] == 2
        names = tokenizer.id_to_token(2), tokenizer.decode(ids)
        print("normalized:", normalized, "id_to_token and decode:", names)
        assert names == (("cafe", "a cafe") if normalized else ("Café", "a Café"))
PYTHON
