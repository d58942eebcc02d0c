#!/usr/bin/env bash
# transformers 5.24.0 reading GGUF: every kind of RoPE scaling in the file is dropped.
#
# Expected: the log-probabilities of llama.cpp (xllamacpp 2026.10.11549) for the same file, or an
# error or warning for what is not supported.
# Seen: files with linear scaling, with YaRN and with the factors of Llama 3.1 and later (the tensor
# rope_freqs.weight) all give the log-probabilities of the file without any, to the last bit, and
# the configuration says rope_type "default". llama.cpp applies each of them. `freq_base` is read.
# The bias of attention layers in a llama file is dropped in the same way.
# It matters to whoever tunes or scores on a base from a GGUF file: the files of Llama 3.1 to 3.3
# are of this kind. Short prompts are nearly right, so a quick test passes; long ones are not.
# What to do: set `rope_parameters` by hand from the original model's configuration.
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


keys.append(("add_head_count_kv", 4))
scaling = gguf.RopeScalingType
linear = [("add_rope_scaling_type", scaling.LINEAR), ("add_rope_scaling_factor", 4.0)]
yarn = [("add_rope_scaling_type", scaling.YARN), ("add_rope_scaling_factor", 4.0)]
yarn.append(("add_rope_scaling_orig_ctx_len", 128))
factors = {"rope_freqs.weight": np.array([1, 2, 4, 8], np.float32)}
bias = {"blk.0.attn_q.bias": np.arange(width, dtype=np.float32) / 8}
cases = {
    "none": ([], {}),
    "freq_base": ([("add_rope_freq_base", 500.0)], {}),
    "linear": (linear, {}),
    "yarn": (yarn, {}),
    "factors": ([], factors),
    "bias": ([], bias),
}
first, dropped = None, []
for name, (more_keys, more_tensors) in cases.items():
    write("model.gguf", keys + more_keys, tensors | more_tensors)
    config, scores = by_transformers("model.gguf")
    off = difference("model.gguf")[1]
    first = scores if first is None else first
    same = torch.equal(scores, first)
    print(f"{name}: rope_type {config.rope_parameters['rope_type']}, as without: {same}", end=", ")
    print(f"largest difference to llama.cpp {off:.4f} nats")
    assert config.rope_parameters["rope_type"] == "default"
    if name in ("none", "freq_base"):
        assert off < 0.05
    elif same and off > 0.2:
        dropped.append(name)
assert dropped == ["linear", "yarn", "factors", "bias"]
PYTHON
