#!/usr/bin/env bash
# river 0.26.1, drift.binary.FHDDM: fed with errors, as documented, it finds a model that gets
# better and never one that gets worse.
#
# Expected: 1 stands for an error (so its documentation, and so for DDM and HDDM beside it), and a
# rise of the error rate is a drift.
# Seen: it alarms when the share of ones falls below the highest share seen, which is right where
# 1 stands for a hit. From no errors to nothing but errors: no alarm. From nothing but errors to
# none: an alarm after 27 values.
# It matters to whoever decides when to train again: feed it `not error`.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check river==0.26.1 numpy==2.3.5
cd "$folder"
env/bin/python - <<'PYTHON'
from river.drift import binary


def alarms(detector, values):
    found = []
    for i, value in enumerate(values):
        detector.update(value)
        if detector.drift_detected:
            found.append(i)
    return found


assert "1 indicates error" in binary.FHDDM.__doc__
worse, better = [0] * 500 + [1] * 500, [1] * 500 + [0] * 500
for name in ("DDM", "HDDMA", "FHDDM"):
    found = [alarms(getattr(binary, name)(), errors) for errors in (worse, better)]
    print(f"{name}: errors from 0 to 1 {found[0]}, errors from 1 to 0 {found[1]}")
    if name == "FHDDM":
        assert found == [[], [526]]
    else:
        assert len(found[0]) == 1 and found[1] == []
PYTHON
