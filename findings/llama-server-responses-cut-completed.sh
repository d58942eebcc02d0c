#!/usr/bin/env bash
# The server of llama.cpp (xllamacpp 2026.10.11549), /v1/responses: an answer that was cut off at
# max_output_tokens says that it is complete.
#
# Expected: what the Responses API says of such an answer: status "incomplete", the reason
# "max_output_tokens" in `incomplete_details`, and a stream that ends with "response.incomplete".
# Seen: status "completed" for the response and for its message, no `incomplete_details`, and
# "response.completed" at the end of the stream. Only the numbers of tokens tell. The same server
# reports the same cut rightly on its other two chat routes: finish_reason "length" on
# /v1/chat/completions, stop_reason "max_tokens" on /v1/messages.
# It matters to whoever keeps answers, as examples to learn from or for a next step: half
# sentences pass for whole ones. Ask one of the other routes, or compare output_tokens with the
# limit.
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


def events(path, **body):
    request = urllib.request.Request(
        server.listening_address + path,
        json.dumps(body | {"stream": True}).encode(),
        {"Content-Type": "application/json"},
    )
    lines = [line.decode().strip() for line in urllib.request.urlopen(request)]
    return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]


limit, text = 4, "hello"
got = post("/v1/responses", input=text, max_output_tokens=limit, temperature=0)
message = got["output"][0]["status"]
last = events("/v1/responses", input=text, max_output_tokens=limit, temperature=0)[-1]
print("response:", got["status"], "message:", message, got["usage"]["output_tokens"], "tokens")
print("details:", got.get("incomplete_details"), "stream ends with:", last["type"])
assert got["status"] == message == last["response"]["status"] == "completed"
assert got.get("incomplete_details") is None and last["type"] == "response.completed"
assert got["usage"]["output_tokens"] == limit

turns = dict(messages=[{"role": "user", "content": text}], max_tokens=limit, temperature=0)
chat = post("/v1/chat/completions", **turns)["choices"][0]["finish_reason"]
messages = post("/v1/messages", model="any", **turns)["stop_reason"]
print("the same cut on the other routes:", chat, messages)
assert (chat, messages) == ("length", "max_tokens")
PYTHON
