#!/usr/bin/env bash
# chonkie 1.7.0, TokenChunker with the "word" tokenizer: every chunk's offsets are one more
# character too early.
#
# Expected: `text[chunk.start_index:chunk.end_index]` is the chunk's text, as with the "character"
# tokenizer and with an overlap.
# Seen: the space between two chunks belongs to neither, and the offsets are counted as if it were
# not there. The first chunk's are right, the second's are off by 1, the ninth's by 8; the chunks
# joined are not the text.
# It matters to whoever shows, cites or masks the passage that retrieval found: in a long text the
# offsets point at other words.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check chonkie==1.7.0
cd "$folder"
env/bin/python - <<'PYTHON'
from chonkie import TokenChunker

text = "a b c d e f g h i j k l m n o p q r s t u v w x y z"


def off(**settings):
    """How far each chunk's start is from where the chunk is."""
    chunks = TokenChunker(**settings).chunk(text)
    return [text.index(chunk.text) - chunk.start_index for chunk in chunks], chunks


words, chunks = off(tokenizer="word", chunk_size=3)
print("words:", words)
for chunk in chunks[:3]:
    print(repr(chunk.text), "by its offsets", repr(text[chunk.start_index : chunk.end_index]))
assert words == list(range(9)) and "".join(chunk.text for chunk in chunks) != text
overlapping, _ = off(tokenizer="word", chunk_size=4, chunk_overlap=2)
characters, _ = off(tokenizer="character", chunk_size=6)
print("with an overlap:", overlapping, "characters:", characters)
assert not any(overlapping) and not any(characters)
PYTHON
