#!/usr/bin/env bash
# The server of llama.cpp (xllamacpp 2026.10.11549): asking for log-probabilities with zero
# alternatives gets none at all.
#
# Expected: as OpenAI's API has it, where `top_logprobs` goes from 0 to 20 and `logprobs` of
# /v1/completions from 0: the log-probability of each token of the answer, and an empty list of
# alternatives.
# Seen: with logprobs true and top_logprobs 0 the field `logprobs` is null, and it is missing from
# /v1/completions with logprobs 0. No error. Leaving top_logprobs out gives 20 alternatives for each
# token instead of none. From 1 upwards the number is kept to.
# It matters to whoever scores answers through this API: 0 is the cheapest and the natural choice
# when only the answer's own tokens count, and code that reads null as "no scores" has none.
# What to do: ask for 1.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check \
    xllamacpp==2026.10.11549 gguf==0.19.0 numpy==2.4.6
cd "$folder"
env/bin/python - 2> log <<'PYTHON'
import json
import urllib.request

import gguf
import numpy as np
import xllamacpp

rng = np.random.default_rng(0)
random = lambda *shape: rng.normal(size=shape, scale=0.3).astype(np.float32)
width, inner, layers = 32, 64, 2


def write(file, keys, tensors):
    writer = gguf.GGUFWriter(file, "llama")
    for method, *values in keys:
        getattr(writer, method)(*values)
    for name, values in tensors.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# A random model whose tokens are the 256 bytes, a beginning and an end.
printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
others = [byte for byte in range(256) if byte not in printable]
alphabet = {byte: chr(byte) for byte in printable}
alphabet |= {byte: chr(256 + i) for i, byte in enumerate(others)}
tokens = [alphabet[byte] for byte in range(256)] + ["<s>", "</s>"]
keys = [
    ("add_context_length", 512),
    ("add_embedding_length", width),
    ("add_block_count", layers),
    ("add_feed_forward_length", inner),
    ("add_head_count", 4),
    ("add_rope_dimension_count", width // 4),
    ("add_layer_norm_rms_eps", 1e-5),
    ("add_tokenizer_model", "gpt2"),
    ("add_tokenizer_pre", "gpt-2"),
    ("add_token_list", tokens),
    ("add_token_types", [1] * 256 + [3, 3]),
    ("add_token_merges", ["h e"]),
    ("add_bos_token_id", 256),
    ("add_eos_token_id", 257),
    ("add_add_bos_token", True),
]
tensors = {"token_embd.weight": random(258, width) * 3, "output.weight": random(258, width)}
tensors["output_norm.weight"] = np.ones(width, np.float32)
for layer in range(layers):
    for name in ("attn_norm", "ffn_norm"):
        tensors[f"blk.{layer}.{name}.weight"] = np.ones(width, np.float32)
    for name in ("ffn_gate", "ffn_up"):
        tensors[f"blk.{layer}.{name}.weight"] = random(inner, width)
    tensors[f"blk.{layer}.ffn_down.weight"] = random(width, inner)
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        tensors[f"blk.{layer}.{name}.weight"] = random(width, width)
write("model.gguf", keys, tensors)


parameters = xllamacpp.CommonParams()
parameters.model.path = "model.gguf"
parameters.n_parallel, parameters.n_ctx, parameters.port = 1, 512, 0
parameters.n_gpu_layers, parameters.warmup, parameters.cpuparams.n_threads = 0, False, 1
server = xllamacpp.Server(parameters)


def post(path, **body):
    request = urllib.request.Request(
        server.listening_address + path,
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    return json.load(urllib.request.urlopen(request))


def chat(**body):
    turns = dict(messages=[{"role": "user", "content": "hello"}], max_tokens=1, temperature=0)
    choice = post("/v1/chat/completions", **turns, **body)["choices"][0]
    entries = (choice.get("logprobs") or {}).get("content")
    return choice["message"]["content"], entries and len(entries[0]["top_logprobs"])


def completion(**body):
    choice = post("/v1/completions", prompt="he said", max_tokens=1, temperature=0, **body)
    entries = (choice["choices"][0].get("logprobs") or {}).get("content")
    return choice["choices"][0]["text"], entries and len(entries[0]["top_logprobs"])


cases = (
    (chat, dict(logprobs=True, top_logprobs=0), None),
    (chat, dict(logprobs=True, top_logprobs=1), 1),
    (chat, dict(logprobs=True), 20),
    (completion, dict(logprobs=0), None),
    (completion, dict(logprobs=1), 1),
)
for ask, body, expected in cases:
    text, count = ask(**body)
    print(f"{ask.__name__} {json.dumps(body)}: {text!r}, alternatives: {count}")
    assert text and count == expected
PYTHON
