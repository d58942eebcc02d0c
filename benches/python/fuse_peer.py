"""Decoding steps after the model by torch and the processors of transformers, CPU, float32."""

import math
import time

import worker

try:
    import numpy
    import torch
    import transformers
    from transformers import TemperatureLogitsWarper, TopPLogitsWarper
except ImportError as error:
    worker.missing("transformers", error)

torch.set_num_threads(worker.threads())
torch.manual_seed(1)
TASK = worker.task()
LOGITS = torch.from_numpy(numpy.fromfile(TASK["logits"], dtype="<f4").reshape(2, TASK["vocabulary"]))
WARPERS = [TemperatureLogitsWarper(TASK["temperature"]), TopPLogitsWarper(TASK["top_p"])]


def mixture():
    log_probs = torch.log_softmax(LOGITS, dim=-1) + math.log(0.5)
    return torch.logaddexp(log_probs[:1], log_probs[1:])


def greedy():
    mixed = mixture()
    return mixed, int(mixed.argmax())


def top_p():
    scores = mixture()
    for warper in WARPERS:
        scores = warper(None, scores)
    return scores, int(torch.multinomial(torch.softmax(scores, dim=-1), 1))


def run():
    parts, result = [], []
    for name, step in [("greedy", greedy), ("top-p", top_p)]:
        begin = time.perf_counter()
        for _ in range(TASK["steps"]):
            scores, token = step()
        parts.append([name, time.perf_counter() - begin])
        if name == "greedy":
            result = scores[0, ::100].tolist() + [token]
    return parts, result, []


with torch.inference_mode():
    worker.serve(f"transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}", run)
