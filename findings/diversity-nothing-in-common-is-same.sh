#!/usr/bin/env bash
# diversity 0.3.1 (PyPI), homogenization_score: texts without a word in common are as alike as can
# be.
#
# Expected: the mean ROUGE-L of all pairs, so 0 for texts that share nothing and 1 for copies.
# Seen: a sum of 0 is taken for "all strings are the exact same" and becomes 1.0. Three answers
# without a common word get 1.0, as three copies do; with one word in common it is 0.095. As
# ROUGE-L here knows the letters a to z and digits only, any texts in Cyrillic or Chinese get 1.0.
# It matters to whoever watches whether a model's answers become all alike: the least alike set an
# alarm off, and small changes move the score from one end to the other.
# The module of the function is loaded by itself, as the package also imports spaCy and others that
# it does not declare.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check \
    rouge-score==0.1.2 evaluate==0.4.6 tqdm==4.70.1 numpy==2.4.6
"$folder/env/bin/pip" install --quiet --disable-pip-version-check --no-deps diversity==0.3.1
cd "$folder"
env/bin/python -W ignore - <<'PYTHON' 2>/dev/null
import importlib.metadata
import importlib.util

path = importlib.metadata.distribution("diversity").locate_file("diversity/homogenization.py")
spec = importlib.util.spec_from_file_location("homogenization", path)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
homogenization_score = module.homogenization_score

sets = {
    "nothing in common": ["red apples taste sweet", "our train left late", "quiet rivers freeze"],
    "one word in common": ["red apples taste sweet", "our train left late", "red rivers freeze"],
    "copies": ["red apples taste sweet"] * 3,
    "nothing in common, Cyrillic": ["яблоки сладкие", "поезд ушёл поздно", "реки замерзают"],
}
seen = {}
for name, texts in sets.items():
    seen[name] = homogenization_score(texts, measure="rougel", verbose=False)
    print(f"{name}: {seen[name]}")
assert seen["nothing in common"] == seen["copies"] == 1.0
assert 0 < seen["one word in common"] < 0.2
assert seen["nothing in common, Cyrillic"] == 1.0
PYTHON
