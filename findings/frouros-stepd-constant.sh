#!/usr/bin/env bash
# frouros 0.9.0, STEPD: a model that is always right is in drift every 60 predictions.
#
# Expected: the test compares the accuracy of the last 30 predictions with that before them; when
# both are 1 there is no difference, so no drift.
# Seen: it alarms at the 60th prediction, the first at which it tests, and so on after each reset.
# The same when all are wrong. The difference is 0, the correction for continuity makes it
# negative, the spread is 0; the quotient is minus infinity, of which the absolute value is taken.
# One wrong prediction among the first 60 and it is silent. menelaus 0.2.0 is silent on both.
# It matters to whoever watches an easy user: the best streams are retrained most.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check frouros==0.9.0 menelaus==0.2.0 numpy==2.1.3
cd "$folder"
env/bin/python -W ignore - <<'PYTHON'
from frouros.detectors.concept_drift import STEPD
from menelaus.concept_drift import STEPD as Other


def alarms(hits):
    detector, found = STEPD(), []
    for i, hit in enumerate(hits):
        detector.update(value=hit)
        if detector.drift:
            found.append(i)
            detector.reset()
    return found


def others(hits):
    detector, found = Other(), []
    for i, hit in enumerate(hits):
        detector.update(y_true=1, y_pred=hit)
        if detector.drift_state == "drift":
            found.append(i)
    return found


streams = {"all right": [1] * 300, "all wrong": [0] * 300, "one wrong": [1] * 20 + [0] + [1] * 279}
for name, hits in streams.items():
    found = alarms(hits), others(hits)
    print(f"{name}: frouros {found[0]}, menelaus {found[1]}")
    assert found == ([] if name == "one wrong" else [59, 119, 179, 239, 299], [])
PYTHON
