#!/usr/bin/env bash
# frouros 0.9.0, STEPD, and menelaus 0.2.0, DDM: a model that is always right is in drift, again
# and again.
#
# Expected: where every prediction is the same there is nothing to detect.
# Seen: frouros's STEPD alarms at the 60th prediction, the first at which it tests, and so on
# after each reset. The difference of the accuracies is 0, the correction for continuity makes it
# negative, the spread is 0; the quotient is minus infinity, of which the absolute value is taken.
# menelaus's DDM alarms every 30 predictions: 0 errors are at least 0 plus three times a spread of
# 0. Both do so, too, where all is wrong, and are silent with one exception early in the stream.
# Each library's other detector of the two is silent throughout.
# It matters to whoever watches easy users: the streams without an error cause the most updates.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check \
    frouros==0.9.0 menelaus==0.2.0 numpy==2.1.3
cd "$folder"
env/bin/python -W ignore - <<'PYTHON'
from frouros.detectors import concept_drift as frouros
from menelaus import concept_drift as menelaus


def by_frouros(name, hits):
    detector, found = getattr(frouros, name)(), []
    for i, hit in enumerate(hits):
        # STEPD takes hits and DDM errors.
        detector.update(value=hit if name == "STEPD" else 1 - hit)
        if detector.drift:
            found.append(i)
            detector.reset()
    return found


def by_menelaus(name, hits):
    detector, found = getattr(menelaus, name)(), []
    for i, hit in enumerate(hits):
        detector.update(y_true=1, y_pred=hit)
        if detector.drift_state == "drift":
            found.append(i)
    return found


streams = {"all right": [1] * 300, "all wrong": [0] * 300, "one wrong": [1] * 9 + [0] + [1] * 290}
for stream, hits in streams.items():
    seen = {
        f"{library} {name}": find(name, hits)
        for library, find in (("frouros", by_frouros), ("menelaus", by_menelaus))
        for name in ("STEPD", "DDM")
    }
    print(stream, seen)
    every = [] if stream == "one wrong" else [60, 30]
    assert seen["frouros STEPD"] == (list(range(59, 300, 60)) if every else [])
    assert seen["menelaus DDM"] == (list(range(29, 300, 30)) if every else [])
    assert seen["frouros DDM"] == seen["menelaus STEPD"] == []
PYTHON
