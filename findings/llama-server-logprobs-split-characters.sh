#!/usr/bin/env bash
# The server of llama.cpp (xllamacpp 2026.10.11549): a character of several tokens has one entry
# among the log-probabilities, its last token's.
#
# Expected: one entry a token, so that the entries add up to the log-probability of the answer.
# Seen: "日本" of six byte tokens has two entries. Each shows the whole character and its three
# bytes, but the id and the log-probability of the last byte's token; those of the first two are
# gone. They add up to -18.4; the six tokens scored one by one give -44.3. The number of entries
# is not `completion_tokens` either. An answer that ends inside a character has no entry for that.
# OpenAI's chat completions are the same.
# It matters to whoever takes a mean over such entries for a perplexity or a gate: text in other
# scripts and emoji, which vocabularies split into bytes, look more likely than they are.
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
server = xllamacpp.Server(parameters)


def post(path, **body):
    request = urllib.request.Request(
        server.listening_address + path,
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    return json.load(urllib.request.urlopen(request))


def score(before, token):
    """The log-probability of `token` after `before`, both ids; what is sampled is an "a"."""
    forced = {"n_predict": 1, "n_probs": 258, "logit_bias": [[ord("a"), 1000]]}
    got = post("/completion", prompt=before, **forced)["completion_probabilities"]
    return {entry["id"]: entry["logprob"] for entry in got[0]["top_logprobs"]}[token]


prompt = post("/tokenize", content="a Japanese word: ", add_special=True)["tokens"]
grammar = 'root ::= "\u65e5\u672c"'
got = post("/completion", prompt=prompt, grammar=grammar, n_probs=1, return_tokens=True)
answer = list("\u65e5\u672c".encode())
assert got["content"] == "\u65e5\u672c" and got["tokens"][:6] == answer
true = [score(prompt + answer[:i], token) for i, token in enumerate(answer)]
entries = got["completion_probabilities"][:2]
reported = [entry["logprob"] for entry in entries]
print("tokens one by one:", np.round(true, 3), "sum", round(sum(true), 3))
print("reported:", [(entry["token"], entry["id"]) for entry in entries], np.round(reported, 3))
print("sum", round(sum(reported), 3))
assert [entry["token"] for entry in entries] == ["\u65e5", "\u672c"]
assert [entry["id"] for entry in entries] == [answer[2], answer[5]]
assert np.allclose(reported, [true[2], true[5]], atol=1e-3)
assert sum(true) < 2 * sum(reported)
cut = post("/completion", prompt=prompt, grammar=grammar, n_probs=1, n_predict=4)
print("cut after 4 of the tokens:", len(cut["completion_probabilities"]), "entry")
assert cut["tokens_predicted"] == 4 and len(cut["completion_probabilities"]) == 1
chat = {"messages": [{"role": "user", "content": "x"}], "logprobs": True, "top_logprobs": 1}
got = post("/v1/chat/completions", grammar=grammar, max_tokens=6, **chat)
counts = len(got["choices"][0]["logprobs"]["content"]), got["usage"]["completion_tokens"]
print("chat: entries and completion tokens", counts)
assert counts == (2, 6)
PYTHON
