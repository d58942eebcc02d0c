#!/usr/bin/env bash
# The server of llama.cpp (xllamacpp 2026.10.11549): an answer that goes on from a last message of
# the assistant repeats that message, unless it is streamed.
#
# Expected: the pieces of a stream, joined, are the content that the same request gives without
# streaming.
# Seen: with a last message " said" of the assistant, the whole answer begins with " said" and the
# streamed one does not. Neither is longer than `completion_tokens` says: the beginning isn't
# counted. Messages that end with the user's turn give the same text both ways.
# It matters to whoever begins an answer for the model (a user's style, a format): a client that
# puts its beginning in front has it once or twice, depending on `stream`.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check \
    xllamacpp==2026.10.11549 gguf==0.19.0 numpy==2.3.5
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
parameters.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
server = xllamacpp.Server(parameters)


def post(path, **body):
    request = urllib.request.Request(
        server.listening_address + path,
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    return json.load(urllib.request.urlopen(request))


def stream(path, **body):
    request = urllib.request.Request(
        server.listening_address + path,
        json.dumps(body | {"stream": True}).encode(),
        {"Content-Type": "application/json"},
    )
    lines = [line.decode().strip() for line in urllib.request.urlopen(request)]
    events = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    deltas = [event["choices"][0]["delta"] for event in events if event["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


for last in ("user", "assistant"):
    messages = [{"role": "user", "content": "he"}, {"role": last, "content": " said"}]
    body = {"messages": messages, "max_tokens": 3, "temperature": 0, "grammar": 'root ::= "abc"'}
    got = post("/v1/chat/completions", **body)
    whole = got["choices"][0]["message"]["content"]
    streamed = stream("/v1/chat/completions", **body)
    print(f"last message of the {last}: whole {whole!r}, streamed {streamed!r}", got["usage"])
    assert got["usage"]["completion_tokens"] == 3 and streamed == "abc"
    assert whole == ("abc" if last == "user" else " saidabc")
PYTHON
