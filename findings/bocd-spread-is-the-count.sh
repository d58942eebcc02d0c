#!/usr/bin/env bash
# bocd 0.1.2 (PyPI), StudentT: what is learned about the spread of the data is the number of
# observations.
#
# Expected (Adams and MacKay 2007; Murphy 2007): with a normal-gamma prior the scale of the
# predictive distribution comes near the standard deviation of the data, so that what counts as a
# change is relative to the noise.
# Seen: the update of beta adds the new term to kappa, which counts the observations, in the place
# of beta. Whatever the data, the scale goes to the square root of 2. With noise of 10 the run
# starts anew 83 times in 400 observations of which one is a change, and before it the run length
# is 5 in the place of 200; with noise of 0.05 it does so 31 times. With the published update it is
# twice and once. Only noise near 1 is read well, which is what examples are made of.
# It matters to whoever watches the loss or the nats per byte of a person's stream, where the noise
# is far from 1.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check \
    bocd==0.1.2 numpy==2.4.6 scipy==1.17.1
cd "$folder"
env/bin/python - <<'PYTHON'
import numpy as np
from bocd import BayesianOnlineChangePointDetection, ConstantHazard, StudentT


class Published(StudentT):
    def update_params(self, x):
        step = self.kappaT * (x - self.muT) ** 2 / (2 * (self.kappaT + 1))
        beta = np.concatenate([self.beta0, self.betaT + step])
        super().update_params(x)
        self.betaT = beta


def watch(kind, data):
    """Most likely run lengths, and the scale after the longest possible run."""
    detector = BayesianOnlineChangePointDetection(ConstantHazard(100), kind())
    lengths = []
    for x in data:
        detector.update(x)
        lengths.append(int(detector.rt[0]))
    known = detector.distribution
    return lengths, float(np.sqrt(known.betaT[-201] / known.alphaT[-201]))


for noise, fewest in ((0.05, 20), (10.0, 60)):
    random = np.random.default_rng(0)
    data = random.normal(0, noise, 400)
    data[200:] += 10 * noise
    seen = {}
    for kind in (StudentT, Published):
        lengths, scale = watch(kind, data)
        restarts = sum(b < a for a, b in zip(lengths, lengths[1:]))
        seen[kind.__name__] = restarts, lengths[199], scale
    print(f"noise {noise}: (restarts, run length before the change, scale)", seen)
    assert seen["StudentT"][0] >= fewest and seen["StudentT"][1] < 30
    assert seen["Published"][0] <= 3 and seen["Published"][1] == 200
PYTHON
