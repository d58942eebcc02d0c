#!/usr/bin/env bash
# tokenizers 0.23.3, DecodeStream: what ends inside a character is never given out.
#
# Expected: the pieces of a stream, joined, are the text that `decode` gives for all ids.
# Seen: equal while the text ends with a whole character. If generation stops inside one (a length
# limit, a stop string), `decode` ends with U+FFFD and the stream with None, and there is no call
# to flush it: the streamed answer is shorter than the one that is stored.
# It matters to servers that stream an answer and also keep it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check tokenizers==0.23.3
cd "$folder"
env/bin/python - <<'PYTHON'
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tokenizers.decoders import DecodeStream

tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()
alphabet = pre_tokenizers.ByteLevel.alphabet()
trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
tokenizer.train_from_iterator(["hello world"], trainer)


def pieces(ids):
    stream = DecodeStream()
    return [stream.step(tokenizer, id) for id in ids]


ids = tokenizer.encode("tea 日").ids
whole, cut = pieces(ids), pieces(ids[:-1])
print("whole:", whole, repr(tokenizer.decode(ids)))
print("cut:  ", cut, repr(tokenizer.decode(ids[:-1])))
join = lambda parts: "".join(part or "" for part in parts)
assert join(whole) == tokenizer.decode(ids) == "tea 日"
assert join(cut) == "tea " and tokenizer.decode(ids[:-1]) == "tea \ufffd"
assert [name for name in dir(DecodeStream) if not name.startswith("_")] == ["step"]
PYTHON
