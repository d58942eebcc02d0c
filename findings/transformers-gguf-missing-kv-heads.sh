#!/usr/bin/env bash
# transformers 5.24.0 reading GGUF: without `llama.attention.head_count_kv` the weights of queries
# and keys are scrambled.
#
# Expected: as the format says and llama.cpp (xllamacpp 2026.10.11549) reads it: where the key is
# missing, there are as many heads for keys as for queries; or an error.
# Seen: the configuration is right (4 and 4 heads), but the rows of the query and key projections,
# which such files hold in another order, are not put back. Nothing is said, and log-probabilities
# are off by up to 7 nats; a file that has the key, with the same number in it, agrees with
# llama.cpp to 0.01.
# It matters to whoever dequantizes such files to tune an adapter: it is trained on a broken base.
# Compare a prompt's log-probabilities with llama.cpp's first, or write the key into the file.
# Installs torch, some gigabytes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check \
    transformers==5.24.0 accelerate==1.15.0 torch==2.15.0 gguf==0.19.0 \
    xllamacpp==2026.10.11549 numpy==2.4.6
cd "$folder"
env/bin/python - 2> log <<'PYTHON'
import json
import urllib.request

import gguf
import numpy as np
import torch
import xllamacpp
from transformers import AutoModelForCausalLM

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


ids = [256, *b"the cat sat on the mat and said nothing"]


def by_transformers(file):
    read = AutoModelForCausalLM.from_pretrained(".", gguf_file=file, dtype=torch.float32)
    with torch.no_grad():
        scores = torch.log_softmax(read(torch.tensor([ids])).logits[0, -1], -1)
    return read.config, scores


def by_llama_cpp(file):
    parameters = xllamacpp.CommonParams()
    parameters.model.path = file
    parameters.n_parallel, parameters.n_ctx, parameters.port = 1, 512, 0
    parameters.n_gpu_layers, parameters.warmup, parameters.cpuparams.n_threads = 0, False, 1
    server = xllamacpp.Server(parameters)
    body = dict(prompt=ids, n_predict=1, temperature=0, n_probs=258, logit_bias=[[65, 99]])
    request = urllib.request.Request(
        server.listening_address + "/completion",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    entries = json.load(urllib.request.urlopen(request))["completion_probabilities"]
    return {entry["id"]: entry["logprob"] for entry in entries[0]["top_logprobs"]}


def difference(file):
    config, scores = by_transformers(file)
    return config, max(abs(scores[i].item() - value) for i, value in by_llama_cpp(file).items())


write("without.gguf", keys, tensors)
write("with.gguf", [*keys, ("add_head_count_kv", 4)], tensors)
seen = {}
for file in ("with.gguf", "without.gguf"):
    config, seen[file] = difference(file)
    heads = config.num_attention_heads, config.num_key_value_heads
    print(f"{file}: {heads} heads, largest difference to llama.cpp {seen[file]:.4f} nats")
    assert heads == (4, 4)
assert seen["with.gguf"] < 0.05 and seen["without.gguf"] > 1


for part in "qk":
    file = tensors[f"blk.0.attn_{part}.weight"]
    right = file.reshape(4, width // 8, 2, width).swapaxes(1, 2).reshape(width, width)
    for name, expected in (("with.gguf", right), ("without.gguf", file)):
        read = AutoModelForCausalLM.from_pretrained(".", gguf_file=name, dtype=torch.float32)
        got = read.state_dict()[f"model.layers.0.self_attn.{part}_proj.weight"].numpy()
        assert np.array_equal(got, expected) and not np.array_equal(right, file)
PYTHON
