#!/usr/bin/env bash
# peft 0.21.2: add_weighted_adapter with combination_type "linear" is not the weighted sum of the
# adapters' updates.
#
# Expected: weights 0.5 and 0.5 give half of each update to the weight matrix.
# Seen: A factors and B factors are averaged apart, each by the square root of weight times scale,
# so the product has cross terms of one adapter's B with the other's A. For two independent
# adapters the result is as far from the mean of the updates as that mean is large. "cat" gives
# the mean to rounding, at twice the rank.
# It matters to whoever makes one adapter for new users out of others'.
# Installs torch, some gigabytes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check peft==0.21.2 transformers==5.24.0 torch==2.15.0
cd "$folder"
env/bin/python - <<'PYTHON'
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

torch.manual_seed(0)
sizes = dict(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2)
base = LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=4, num_key_value_heads=2))
config = lambda: LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False)
model = get_peft_model(base, config(), adapter_name="a")
model.add_adapter("b", config())
model.add_weighted_adapter(["a", "b"], [0.5, 0.5], "linear", combination_type="linear")
model.add_weighted_adapter(["a", "b"], [0.5, 0.5], "cat", combination_type="cat")
projection = model.base_model.model.model.layers[0].self_attn.q_proj
update = lambda name: projection.get_delta_weight(name).detach()
mean = (update("a") + update("b")) / 2
off = {name: float((update(name) - mean).norm() / mean.norm()) for name in ("linear", "cat")}
print("distance from the mean, relative:", off)
assert 0.5 < off["linear"] < 2.0
assert off["cat"] < 1e-5
PYTHON
