#!/usr/bin/env bash
# peft 0.21.2: an adapter whose alpha_pattern has overlapping keys computes something else after
# it was saved and loaded.
#
# Expected: save_pretrained and from_pretrained give the same logits.
# Seen: the first pattern that matches a module wins, in the order of the dict; the saved JSON has
# its keys sorted, so another one comes first on loading. Layer 0's scale goes from 8 to 1 without
# a word. (The same with rank_pattern is noticed: the shapes no longer fit.)
# It matters to whoever reads such folders: file order decides, and what the author trained with
# cannot be told from the file.
# Installs torch, some gigabytes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check peft==0.21.2 transformers==5.24.0 torch==2.15.0
cd "$folder"
env/bin/python - <<'PYTHON'
import json

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM


def base():
    torch.manual_seed(0)
    sizes = dict(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2)
    heads = dict(num_attention_heads=4, num_key_value_heads=2)
    return LlamaForCausalLM(LlamaConfig(**sizes, **heads)).eval()


def scales(model):
    layers = model.base_model.model.model.layers
    return [layer.self_attn.q_proj.scaling["default"] for layer in layers]


ids = torch.arange(10)[None]
patterns = {"q_proj": 32, "layers.0.self_attn.q_proj": 4}
config = LoraConfig(
    r=4, target_modules=["q_proj"], init_lora_weights=False, alpha_pattern=patterns
)
made = get_peft_model(base(), config).eval()
made.save_pretrained("adapter")
loaded = PeftModel.from_pretrained(base(), "adapter").eval()
keys = list(json.load(open("adapter/adapter_config.json"))["alpha_pattern"])
difference = float((made(ids).logits - loaded(ids).logits).detach().abs().max())
print("made with", scales(made), "loaded with", scales(loaded), "largest difference", difference)
assert keys == sorted(patterns) != list(patterns)
assert scales(made) == [8.0, 8.0] and scales(loaded) == [1.0, 8.0]
assert difference > 1e-3
PYTHON
