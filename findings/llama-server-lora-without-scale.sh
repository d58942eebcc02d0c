#!/usr/bin/env bash
# The server of llama.cpp (xllamacpp 2026.10.11549): a request's `lora` entry without a scale runs
# the base model.
#
# Expected: scale 1, as `--lora` has it on the command line, or an error, since the documentation
# says that each object must have `id` and `scale`.
# Seen: {"lora": [{"id": 0}]} is answered with 200 and the log-probabilities of the base, to the
# last digit. So are an entry without an id, an id as a string and a bare number. Only `lora` that
# is not a list is refused.
# It matters to whoever serves one adapter per user: a client that leaves the scale out gets the
# unpersonalized model and can't tell. Always send both, and compare once with the base.
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

writer = gguf.GGUFWriter("adapter.gguf", "llama")
writer.add_string("general.type", "adapter")
writer.add_string("adapter.type", "lora")
writer.add_float32("adapter.lora.alpha", 4.0)
for name in ("blk.0.attn_q", "blk.1.attn_v"):
    writer.add_tensor(f"{name}.weight.lora_a", random(4, width))
    writer.add_tensor(f"{name}.weight.lora_b", random(width, 4))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()


parameters = xllamacpp.CommonParams()
parameters.model.path = "model.gguf"
parameters.n_parallel, parameters.n_ctx, parameters.port = 1, 512, 0
parameters.n_gpu_layers, parameters.warmup, parameters.cpuparams.n_threads = 0, False, 1
parameters.lora_adapters = [xllamacpp.CommonAdapterLoraInfo("adapter.gguf", 1.0)]
server = xllamacpp.Server(parameters)


def post(path, **body):
    request = urllib.request.Request(
        server.listening_address + path,
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    return json.load(urllib.request.urlopen(request))


def first(**body):
    fixed = dict(prompt="he said", max_tokens=1, temperature=0, logprobs=5, cache_prompt=False)
    got = post("/v1/completions", **fixed, **body)["choices"][0]["logprobs"]["content"][0]
    return [(entry["id"], round(entry["logprob"], 4)) for entry in got["top_logprobs"]]


base = first(lora=[{"id": 0, "scale": 0.0}])
adapted = first(lora=[{"id": 0, "scale": 1.0}])
print("base   ", base)
print("adapter", adapted)
assert base != adapted and first() == adapted
for entry in ({"id": 0}, {"scale": 1.0}, {"id": "0", "scale": 1.0}, 0):
    got = first(lora=[entry])
    print(json.dumps([entry]), "gives the", "base" if got == base else "adapter")
    assert got == base
try:
    first(lora={"id": 0, "scale": 1.0})
    raise SystemExit("an object instead of a list is accepted")
except urllib.error.HTTPError as error:
    print("an object instead of a list:", error.code)
    assert error.code == 400
PYTHON
