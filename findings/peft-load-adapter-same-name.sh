#!/usr/bin/env bash
# peft 0.21.2: load_adapter under a name that is taken puts the file's factors in and keeps the old
# adapter's scale and modules.
#
# Expected: the adapter in the file replaces the one of that name, or an error.
# Seen: an adapter with lora_alpha 64 loaded over one with 8 runs with 8's scale, an eighth of its
# strength; the result is "All keys matched successfully", and no warning is given. The same with
# use_rslora and with alpha_pattern. With other target modules the old factors stay active. After
# delete_adapter of that name the same call is right.
# It matters to whoever keeps one slot and loads one user's adapter after another's into it.
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
from peft import LoraConfig, get_peft_model


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
for name, settings in {
    "lora_alpha 64": {"lora_alpha": 64},
    "use_rslora": {"use_rslora": True},
    "alpha_pattern": {"alpha_pattern": {"q": 64}},
    "other modules": {"target_modules": ["v"]},
    "the same settings": {},
}.items():
    wanted = adapted(2, **settings)
    wanted.save_pretrained("adapter")
    over, after = adapted(1), adapted(1)
    over.load_adapter("adapter", "default")
    after.delete_adapter("default")
    after.load_adapter("adapter", "default")
    after.set_adapter("default")
    scale = over.base_model.model.q.scaling["default"]
    print(f"{name}: off by {differ(over, wanted):.4f}, scale of q {scale};", end=" ")
    print(f"deleted first: off by {differ(after, wanted):.4f}")
    assert differ(after, wanted) < 1e-5 and scale == 2.0
    assert (differ(over, wanted) < 1e-5) == (name == "the same settings")
PYTHON
