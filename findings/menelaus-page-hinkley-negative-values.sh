#!/usr/bin/env bash
# menelaus 0.2.0, PageHinkley: the threshold is multiplied by the running mean of the signal.
#
# Expected: the alarm depends on the cumulative deviation from the mean; adding a constant to all
# values changes nothing, and a constant signal never alarms.
# Seen: a signal of nothing but -1 alarms at its 31st value and every 31 values from then on, since
# the threshold is 20 times -1. Around a mean of 1 a step of 1 is found after 22 values; the same
# step around a mean of 100 is missed. Around a mean of 0 the threshold is nearly 0, and noise
# alarms.
# It matters to whoever watches log-likelihoods, which are negative, or differences, whose mean is
# near 0.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check menelaus==0.2.0 numpy==2.3.5
cd "$folder"
env/bin/python - <<'PYTHON'
import numpy as np
from menelaus.change_detection import PageHinkley


def alarms(values):
    detector = PageHinkley()
    found = []
    for i, value in enumerate(values):
        detector.update(value)
        if detector.drift_state == "drift":
            found.append(i)
    return found


flat = {level: alarms(np.full(200, level)) for level in (-1.0, 0.0, 1.0)}
print("constant:", flat)
assert flat == {-1.0: [30, 61, 92, 123, 154, 185], 0.0: [], 1.0: []}
noise = np.random.default_rng(0).normal(0, 0.1, 1000)
step = np.repeat([0.0, 1.0], 500)
stepped = {mean: alarms(noise + step + mean) for mean in (-1, 0, 1, 100)}
print("a step at 500, around a mean of:", {mean: found[:4] for mean, found in stepped.items()})
assert stepped[-1][0] == stepped[0][0] == 30
assert stepped[1] == [521] and stepped[100] == []
PYTHON
