#!/usr/bin/env bash
# peft 0.21.2: an adapter that was merged at another strength is not taken out again by
# unmerge_adapter; the base stays changed.
#
# Expected: unmerge_adapter undoes merge_adapter: it takes out what was put in.
# Seen: it takes out the update at the scale of that moment. After a merge inside of peft's own
# `rescale_adapter_scale(model, 0.5)` the base is left with half of the update subtracted; with
# scale_layer(0.5) between the two calls half of it stays. The base's outputs, all adapters
# disabled, are then off by nearly as much as the adapter changes them, and every other adapter
# sits on that base. No warning.
# Merging and unmerging inside of the same block is right.
# It matters to whoever serves many users from one base and bakes an adapter in for a while at a
# lower strength: one user's style stays, inverted, in everybody's answers.
# Installs torch, some gigabytes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check \
    peft==0.21.2 transformers==5.24.0 torch==2.15.0
cd "$folder"
env/bin/python - 2> log <<'PYTHON'
import torch
from peft import LoraConfig, get_peft_model
from peft.helpers import rescale_adapter_scale
from transformers import LlamaConfig, LlamaForCausalLM

ids = torch.arange(10)[None]


def base():
    torch.manual_seed(0)
    sizes = dict(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2)
    return LlamaForCausalLM(LlamaConfig(num_attention_heads=4, **sizes)).eval()


def adapted():
    torch.manual_seed(1)
    targets = ["q_proj", "v_proj"]
    config = LoraConfig(r=4, lora_alpha=8, target_modules=targets, init_lora_weights=False)
    return get_peft_model(base(), config).eval()


def far(model, logits):
    with torch.no_grad():
        return float((model(ids).logits - logits).abs().max())


def in_one_block(model):
    with rescale_adapter_scale(model, 0.5):
        model.merge_adapter()
        model.unmerge_adapter()


def out_of_the_block(model):
    with rescale_adapter_scale(model, 0.5):
        model.merge_adapter()
    model.unmerge_adapter()


def scaled_between(model):
    model.merge_adapter()
    for layer in model.modules():
        if hasattr(layer, "lora_A"):
            layer.scale_layer(0.5)
    model.unmerge_adapter()


with torch.no_grad():
    original = base()(ids).logits
effect = far(adapted(), original)
print("what the adapter changes:", effect)
for way, damaged in ((in_one_block, False), (out_of_the_block, True), (scaled_between, True)):
    model = adapted()
    way(model)
    with model.disable_adapter():
        off = far(model, original)
    print(f"{way.__name__}: the base is off by {off}")
    assert off > effect / 4 if damaged else off < 1e-5
PYTHON
