#!/usr/bin/env bash
# transformers 5.24.0, `generate(stop_strings=...)`: the end of the prompt counts as a beginning of
# a stop string.
#
# Expected: the text that is generated is searched, as "stop" of OpenAI-compatible servers does.
# Seen: with the stop string "\n\n", a prompt that ends with "\n" and an answer that begins with
# "\n" and goes on, generation ends after that first token: one line break of the prompt and one
# of the answer make the stop string. A prompt that has the whole stop string, even at its end, does
# not stop anything. The server of llama.cpp (xllamacpp 2026.10.11549) goes on in this case.
# It matters since chat templates end with a line break and small models like to begin with one:
# an answer is empty here and whole on the server, and evaluations of the two differ.
# Installs torch, some gigabytes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check \
    transformers==5.24.0 torch==2.15.0
cd "$folder"
env/bin/python - 2> log <<'PYTHON'
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, LogitsProcessor, PreTrainedTokenizerFast

alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
plain = Tokenizer(models.BPE({piece: i for i, piece in enumerate(alphabet)}, []))
plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
plain.decoder = decoders.ByteLevel()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain)
sizes = dict(vocab_size=256, hidden_size=32, intermediate_size=48, num_hidden_layers=1)
model = LlamaForCausalLM(LlamaConfig(num_attention_heads=4, **sizes)).eval()


class Say(LogitsProcessor):
    """Makes the model say a given text."""

    def __init__(self, ids, start):
        self.ids, self.start = ids, start

    def __call__(self, ids, scores):
        forced = torch.full_like(scores, -1e9)
        forced[:, self.ids[ids.shape[1] - self.start]] = 0
        return forced


def answer(prompt, text, stop):
    given, said = tokenizer(prompt, return_tensors="pt").input_ids, tokenizer(text).input_ids
    out = model.generate(
        given,
        attention_mask=torch.ones_like(given),
        max_new_tokens=len(said),
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
        logits_processor=[Say(said, given.shape[1])],
        stop_strings=stop,
        tokenizer=tokenizer,
    )
    return tokenizer.decode(out[0, given.shape[1] :])


cases = [
    ("hello\n", "\nabc", "\n\n", "\n"),
    ("User: hi\nAnna:", ": well\n", "::", ":"),
    ("hello", "a\n\nb", "\n\n", "a\n\n"),
    ("hello\n\n", "abc", "\n\n", "abc"),
    ("hello\n", "abc", "\n\n", "abc"),
]
for prompt, text, stop, expected in cases:
    got = answer(prompt, text, [stop])
    print(f"prompt {prompt!r}, stop {stop!r}: of {text!r} it says {got!r}")
    assert got == expected
PYTHON
