#!/usr/bin/env bash
# safetensors 0.8.0 with numpy 2.4.6: a transposed or strided array is saved with wrong values.
#
# Expected: an error, as for torch tensors, or a copy in row order.
# Seen: the memory behind the array is written in the order in which it lies, under the view's
# shape. A transposed matrix comes back untransposed, every second column comes back as the first
# columns, a column-major matrix is scrambled; no error, no warning. `save` does the same as
# `save_file`. A big-endian array is converted rightly.
# It matters to whoever exports adapters: LoRA factors are often stored as `weights.T`.
# What to do: `numpy.ascontiguousarray` on every array before saving.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check safetensors==0.8.0 numpy==2.4.6
cd "$folder"
env/bin/python - <<'PYTHON'
import numpy as np
from safetensors.numpy import load, load_file, save, save_file

rows = np.arange(6, dtype=np.float32).reshape(2, 3)
arrays = {
    "transposed": rows.T,
    "every second column": rows[:, ::2],
    "column-major": np.asfortranarray(rows),
    "big-endian": rows.astype(">f4"),
    "copied": np.ascontiguousarray(rows.T),
}
save_file(arrays, "a.safetensors")
for how, back in (("save_file", load_file("a.safetensors")), ("save", load(save(arrays)))):
    same = {name: bool(np.array_equal(back[name], array)) for name, array in arrays.items()}
    print(how, same)
    assert same == {
        "transposed": False,
        "every second column": False,
        "column-major": False,
        "big-endian": True,
        "copied": True,
    }
    print("  transposed:", arrays["transposed"].tolist(), "came back as", back["transposed"].tolist())
    assert back["transposed"].tolist() == [[0, 1], [2, 3], [4, 5]]
PYTHON
