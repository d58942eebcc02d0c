#!/usr/bin/env bash
# The server of llama.cpp (xllamacpp 2026.10.11549): an empty stop string ends every answer before
# it begins.
#
# Expected: the empty string is left out, as null and [] are, or refused.
# Seen: with "stop": "" or [""] one token is computed and thrown away; the answer is empty, with
# finish_reason "stop" and 1 completion token, as if the model had nothing to say. One empty string
# among others has the same effect. /v1/messages with stop_sequences [""] says "end_turn".
# It matters to whoever fills `stop` from a form or splits a setting at commas: an empty field looks
# like a model that was tuned to silence, and such empty answers count in an evaluation.
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


turns = dict(messages=[{"role": "user", "content": "hello"}], max_tokens=4, temperature=0)
for stop in (None, [], ["zzz"], "", [""], ["", "zzz"]):
    empty = bool(stop == "" or stop and "" in stop)
    got = post("/v1/chat/completions", stop=stop, **turns)
    choice, count = got["choices"][0], got["usage"]["completion_tokens"]
    said, reason = choice["message"]["content"], choice["finish_reason"]
    print(f"stop {stop!r}: {count} tokens, {reason}, {said!r}")
    assert (said == "", reason, count) == ((True, "stop", 1) if empty else (False, "length", 4))
got = post("/v1/messages", model="any", stop_sequences=[""], **turns)
print("/v1/messages:", got["stop_reason"], got["content"])
assert got["stop_reason"] == "end_turn" and got["content"] == []
PYTHON
