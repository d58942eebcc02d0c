#!/usr/bin/env bash
# netcal 1.4.0, HistogramBinning: confidences that are the edge of a bin are calibrated by the bin
# below.
#
# Expected: the data that a histogram was fitted with come back as the share that was right in their
# bin.
# Seen: for the fit a bin includes its lower edge, for the transformation its upper one. With ten
# bins, 1000 answers of confidence 0.8 of which 600 were right go into the bin from 0.8 to 0.9, and
# 0.8 is then looked up in the bin from 0.7 to 0.8. That one is empty, and an empty bin stands for
# its middle: the calibrated confidence is 0.75. Where 0.9 was given too, it gets the accuracy of
# 0.8. Confidences a hundredth above the edges come back as their own accuracy.
# It matters to whoever calibrates confidences that a model says in words or in round per cents:
# 0.1, 0.2, 0.4, 0.5, 0.8 and 0.9 are edges (0.3, 0.6 and 0.7 are rounded to just below theirs), and
# what they get is not their own value.
# Installs torch, some gigabytes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check \
    netcal==1.4.0 torch==2.15.0 numpy==2.4.6
cd "$folder"
env/bin/python -W ignore - <<'PYTHON'
import numpy as np
from netcal.binning import HistogramBinning


def calibrated(shares, shift=0.0):
    """Fit with 1000 answers of each confidence, of which the given share was right."""
    confidences = np.repeat([confidence + shift for confidence in shares], 1000)
    right = np.concatenate(
        [np.arange(1000) < round(1000 * share) for share in shares.values()]
    ).astype(int)
    model = HistogramBinning(bins=10)
    model.fit(confidences, right)
    values = np.array([confidence + shift for confidence in shares])
    return {float(c): round(float(p), 2) for c, p in zip(values, model.transform(values))}


seen = calibrated({0.8: 0.6})
both = calibrated({0.8: 0.6, 0.9: 0.85})
inside = calibrated({0.8: 0.6, 0.9: 0.85}, shift=0.01)
print("0.8, right in 0.6 of the cases:", seen)
print("0.8 and 0.9, right in 0.6 and 0.85:", both, "a hundredth above:", inside)
assert list(seen.values()) == [0.75]
assert list(both.values()) == [0.75, 0.6]
assert list(inside.values()) == [0.6, 0.85]
PYTHON
