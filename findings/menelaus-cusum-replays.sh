#!/usr/bin/env bash
# menelaus 0.2.0, CUSUM: after its first alarm it reads the start of the stream again, not what
# comes in.
#
# Expected: an alarm resets the sums, and the next values are compared with a new target, the mean
# of the last 30 values.
# Seen: the sums restart, but each step takes the value whose index is the number of samples since
# the reset, counted from the very first value of the stream. After a step from 0 to 10 the next
# 300 values raise no alarm, whether they stay at 10, jump to 1000 or fall to -1000. A detector
# that starts there alarms at once, as soon as its burn-in of 30 is over.
# It matters to whoever lets one detector run over a user's history: only its first alarm has to
# do with the data.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check menelaus==0.2.0 numpy==2.3.5
cd "$folder"
env/bin/python - <<'PYTHON'
import numpy as np
from menelaus.change_detection import CUSUM


def alarms(values, target):
    detector = CUSUM(target=target, sd_hat=1, threshold=50, delta=0.5)
    found = []
    for i, value in enumerate(values):
        detector.update(value)
        if detector.drift_state == "drift":
            found.append(i)
    return found


noise = np.random.default_rng(0).normal(size=606)
start = noise[:306] + np.repeat([0, 10], [300, 6])
for level in (10, 1000, -1000):
    rest = noise[306:] + level
    whole, fresh = alarms(np.concatenate([start, rest]), 0), alarms(rest, 10)
    print(f"then {level}: alarms {whole}, of a detector that starts there {fresh[:1]}")
    assert whole == [305]
    assert fresh[:1] == ([] if level == 10 else [30])
PYTHON
