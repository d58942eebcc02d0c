#!/usr/bin/env bash
# peft 0.21.2, hotswap_adapter: the swapped model is right, and what it saves is another adapter.
#
# Expected: save_pretrained after a swap writes the adapter that is in use.
# Seen: the factors and the scale in use are the new file's, the configuration is still the first
# adapter's. With lora_alpha 64 swapped in for 8 the outputs are the new adapter's; saved and
# loaded again, the scale is an eighth. No warning.
# It matters to whoever swaps users' adapters in one model, trains on and saves.
# Installs torch, some gigabytes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check \
    peft==0.21.2 transformers==5.24.0 torch==2.15.0
cd "$folder"
env/bin/python - <<'PYTHON'
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils.hotswap import hotswap_adapter


class Base(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.q, self.v = torch.nn.Linear(16, 16), torch.nn.Linear(16, 16)
        self.head = torch.nn.Linear(16, 4)

    def forward(self, x):
        return self.head(self.v(self.q(x)))


def adapted(seed, **settings):
    settings = {"r": 4, "lora_alpha": 8, "target_modules": ["q"], **settings}
    model = get_peft_model(Base(), LoraConfig(**settings)).eval()
    torch.manual_seed(seed)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


x = torch.linspace(0, 1, 16)[None]
differ = lambda one, other: float((one(x) - other(x)).detach().abs().max())
wanted = adapted(2, lora_alpha=64)
wanted.save_pretrained("file")
model = adapted(1)
hotswap_adapter(model, "file", adapter_name="default")
model.save_pretrained("again")
loaded = PeftModel.from_pretrained(Base(), "again").eval()
scale = lambda peft: peft.base_model.model.q.scaling["default"]
print("in use: scale", scale(model), "off by", differ(model, wanted), end="; ")
print("saved and loaded: scale", scale(loaded), "off by", differ(loaded, wanted))
assert scale(model) == 16.0 and differ(model, wanted) == 0
assert scale(loaded) == 2.0 and differ(loaded, wanted) > 0.1
assert model.peft_config["default"].lora_alpha == 8
PYTHON
