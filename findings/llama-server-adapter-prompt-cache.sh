#!/usr/bin/env bash
# The server of llama.cpp (xllamacpp 2026.10.11549): its prompt cache in memory hands the state of
# one LoRA adapter to a request with another.
#
# Expected: each request's `lora` scales decide its answer, whatever was asked before. The server
# does drop what a slot holds when the next request's scales differ.
# Seen: states that a slot gives up go to a cache in main memory, on by default, which is searched
# by tokens alone. Prompt P with the adapter, another prompt without it, P without it: the last
# answer is computed on 58 cached tokens of the adapter's keys and values, and is neither the
# base's answer nor the adapter's. With `cache_ram_mib` 0 it is right; reported upstream as issue
# 26207.
# It matters to whoever serves one base with an adapter for each user: prompts share long
# beginnings, and answers depend on who asked before.
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
factors = {}
for layer in range(layers):
    for name in ("attn_norm", "ffn_norm"):
        tensors[f"blk.{layer}.{name}.weight"] = np.ones(width, np.float32)
    for name in ("ffn_gate", "ffn_up"):
        tensors[f"blk.{layer}.{name}.weight"] = random(inner, width)
    tensors[f"blk.{layer}.ffn_down.weight"] = random(width, inner)
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        tensors[f"blk.{layer}.{name}.weight"] = random(width, width)
        factors[f"blk.{layer}.{name}.weight.lora_a"] = random(2, width) * 3
        factors[f"blk.{layer}.{name}.weight.lora_b"] = random(width, 2) * 3
write("model.gguf", keys, tensors)
adapter = [("add_type", "adapter"), ("add_string", "adapter.type", "lora")]
write("lora.gguf", adapter + [("add_float32", "adapter.lora.alpha", 8.0)], factors)


def server(**settings):
    parameters = xllamacpp.CommonParams()
    parameters.model.path = "model.gguf"
    lora = xllamacpp.CommonAdapterLoraInfo()
    lora.path, lora.scale = "lora.gguf", 0.0
    parameters.lora_adapters = [lora]
    parameters.n_parallel, parameters.n_ctx, parameters.port = 1, 512, 0
    parameters.n_gpu_layers, parameters.warmup, parameters.cpuparams.n_threads = 0, False, 1
    for name, value in settings.items():
        setattr(parameters, name, value)
    return xllamacpp.Server(parameters)


def answer(running, prompt, scale, cache=True):
    body = {"prompt": prompt, "n_predict": 8, "temperature": 0, "return_tokens": True}
    body |= {"cache_prompt": cache, "lora": [{"id": 0, "scale": scale}], "ignore_eos": True}
    request = urllib.request.Request(
        running.listening_address + "/completion",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    got = json.load(urllib.request.urlopen(request))
    return got["tokens"], got["timings"]["cache_n"]


p = "the quick brown fox jumps over the lazy dog and runs away "
q = "completely different text 0123456789 ABCDEFGHIJKLMNOP "
wrong = {}
for name, settings in (("default", {}), ("cache_ram_mib 0", {"cache_ram_mib": 0})):
    running = server(**settings)
    base = answer(running, p, 0.0, cache=False)
    adapted = answer(running, p, 1.0, cache=False)
    assert base[0] != adapted[0]
    answer(running, p, 1.0)
    assert answer(running, p, 0.0)[0] == base[0], "the slot itself notices the change"
    answer(running, p, 1.0)
    answer(running, q, 0.0)
    last = answer(running, p, 0.0)
    print(f"{name}: base {base}, adapter {adapted}, base after both (tokens, cached) {last}")
    wrong[name] = last[0] != base[0]
    assert last[0] != adapted[0] and (last[1] > 50) == wrong[name]
assert wrong == {"default": True, "cache_ram_mib 0": False}
PYTHON
