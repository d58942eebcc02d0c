"""A metric as a program: the share of the answer's words that the user wrote too."""

import json
import sys

for line in sys.stdin:
    text = json.loads(line)
    answer, reference = text["answer"].split(), set(text["reference"].split())
    score = sum(word in reference for word in answer) / max(len(answer), 1)
    print(json.dumps({"id": text["id"], "score": score}))
