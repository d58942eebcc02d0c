#!/usr/bin/env bash
# peft 0.21.2, unload: the base that it gives back keeps the adapter's modules_to_save.
#
# Expected (its documentation): the base model, without the adapter; so the outputs under
# disable_adapter.
# Seen: the LoRA factors are gone, the trained copy of a module stays in place of the base's. The
# outputs are neither the base's nor the adapter's. disable_adapter does give the base's. The next
# adapter that is put on this "base" computes with the first one's head. No warning.
# It matters to whoever serves adapters with trained heads or embeddings in turn: the base has
# to be loaded anew.
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
first = adapted(1, modules_to_save=["head"])
second = adapted(2)
second.save_pretrained("second")
with first.disable_adapter():
    disabled = differ(first, Base())
head = first.base_model.model.head.modules_to_save["default"]
unloaded = first.unload()
print("off the base by: disabled", disabled, "unloaded", differ(unloaded, Base()))
assert disabled == 0 and differ(unloaded, Base()) > 0.1
assert torch.equal(unloaded.head.weight, head.weight)
assert torch.equal(unloaded.q.weight, Base().q.weight)
next_one = PeftModel.from_pretrained(unloaded, "second").eval()
print("the second adapter on it: off by", differ(next_one, second))
assert differ(next_one, second) > 0.1
PYTHON
