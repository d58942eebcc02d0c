#!/usr/bin/env bash
# mergelib 0.0.1a0, merge with method "fisher": the result is the first model, or NaN.
#
# Expected (Matena and Raffel 2022): the mean of the models, each weight by its Fisher information
# and the models' coefficients, of which those with the best score are kept.
# Seen: the gradients are taken with gradients turned off, so the Fisher information of all weights
# is 0. A floor of 0.000001 is put under the first model's only, so all means are the first model,
# whatever the coefficients, or 0 / 0 where the first coefficient is 0. Here one order of the models
# gives the first of them, to rounding, and the other a model with a body of NaN: it answers with
# class 0 throughout, and that score is the best.
# `normalize=True` changes nothing either: what it makes is thrown away.
# It matters to whoever merges people's models: it runs through, and one of the two was never in.
# Installs torch, some gigabytes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check \
    mergelib==0.0.1a0 transformers==4.57.1 evaluate==0.4.6 torch==2.15.0
cd "$folder"
env/bin/python -W ignore - <<'PYTHON' 2>/dev/null
from types import SimpleNamespace

import torch
from mergelib import merge
from mergelib.engine.fisher import compute_fisher_matrices


class Model(torch.nn.Module):
    """A body, which is merged, and a classifier, which is not."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.body = torch.nn.Sequential(torch.nn.Embedding(16, 8), torch.nn.Linear(8, 8))
        self.classifier = torch.nn.Linear(8, config.num_labels)

    def forward(self, input_ids, labels=None):
        return SimpleNamespace(logits=self.classifier(self.body(input_ids).mean(dim=1).tanh()))


class Accuracy:
    """The share of right ones."""

    def __init__(self):
        self.hits = []

    def add_batch(self, predictions, references):
        self.hits += (predictions == references).tolist()

    def compute(self):
        hits, self.hits = self.hits, []
        return {"accuracy": sum(hits) / len(hits)}


torch.manual_seed(0)
first, second = (Model(SimpleNamespace(num_labels=3)) for _ in range(2))
batches = [
    {"input_ids": torch.randint(16, (4, 5)), "labels": torch.randint(3, (4,))} for _ in range(3)
]
fisher = compute_fisher_matrices(second, batches)
print("largest Fisher information:", max(float(values.max()) for values in fisher))
assert all(not values.any() for values in fisher)

weights = lambda model: torch.cat([values.flatten() for values in model.body.parameters()])
off = {}
for name, models in (("first, second", [first, second]), ("second, first", [second, first])):
    merged, score, coefficients = merge(models, batches, Accuracy(), num_coefficients=5)
    off[name] = [float((weights(merged) - weights(model)).abs().max()) for model in models]
    print(f"{name}: {score}, coefficients {coefficients}, differences from each: {off[name]}")
assert off["first, second"][0] < 1e-6 and off["first, second"][1] > 0.5
assert weights(merged).isnan().all()
PYTHON
