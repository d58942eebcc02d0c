#!/usr/bin/env bash
# tiktoken 0.14.0: a special token that begins with another special token is never encoded.
#
# Expected: the longest special token that fits is taken, as tokenizers 0.23.3 does.
# Seen: the shorter one always wins. With the special tokens "@ann" and "@anna" the text "@anna"
# becomes "@ann" and "a", in whichever order the two are given; `encode_single_token("@anna")` does
# know it. Where only "@anna" is allowed, "@anna" is refused because of "@ann".
# It matters to whoever gives users or topics tokens of their own: end each name with a character
# that no name has inside.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check \
    tiktoken==0.14.0 tokenizers==0.23.3
cd "$folder"
env/bin/python - <<'PYTHON'
import tiktoken
from tokenizers import AddedToken, Tokenizer, models

ranks = {bytes([byte]): byte for byte in range(256)}
for special in ({"@ann": 256, "@anna": 257}, {"@anna": 257, "@ann": 256}):
    encoding = tiktoken.Encoding(
        name="bytes", pat_str=r"\w+|\W+", mergeable_ranks=ranks, special_tokens=special
    )
    ids = encoding.encode("@anna", allowed_special="all")
    print("tiktoken:", ids, "by name:", encoding.encode_single_token("@anna"))
    assert ids == [256, ord("a")] and encoding.encode_single_token("@anna") == 257
    try:
        encoding.encode("@anna", allowed_special={"@anna"})
        raise SystemExit("it was encoded")
    except ValueError as error:
        print(str(error).splitlines()[0])
        assert "special token '@ann'." in str(error)

tokenizer = Tokenizer(models.BPE())
tokenizer.add_special_tokens([AddedToken(name, special=True) for name in ("@ann", "@anna")])
tokens = tokenizer.encode("@anna").tokens
print("tokenizers:", tokens)
assert tokens == ["@anna"]
PYTHON
