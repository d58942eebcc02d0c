"""How far llama.cpp is from float32 on a GGUF file: what `cargo xtask parity --texts` says of this project's fast products.

    python3 -m venv venv && venv/bin/pip install torch transformers==5.24.0 accelerate gguf==0.19.0 llama-cpp-python
    venv/bin/python benches/python/gguf_parity.py MODEL.gguf TEXTS.jsonl

The same texts (the first 50 lines' prompt and response), cut to the same number of tokens. The reference is transformers in
float32 over the dequantised weights, from which `exact` differs by 1e-4 of a logit. Prints the mean KL from the reference in
nats per token, and at how many positions both put the same token first.
"""

import argparse
import json
import os

import numpy
import torch
import transformers
from llama_cpp import Llama


def texts_of(path, count):
    with open(path, encoding="utf-8") as lines:
        for _, line in zip(range(count), lines):
            line = json.loads(line)
            yield f"{line['prompt']}\n\n{line['response']}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("texts")
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--tokens", type=int, default=192)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(args.threads)

    size = args.tokens + 1
    peer = Llama(args.model, n_ctx=size, n_batch=size, n_ubatch=size, logits_all=True, n_threads=args.threads,
                 n_threads_batch=args.threads, verbose=False)
    folder, name = os.path.split(os.path.abspath(args.model))
    load = transformers.AutoModelForCausalLM.from_pretrained
    reference = load(folder, gguf_file=name, dtype=torch.float32).eval()

    positions, kl, same, largest = 0, 0.0, 0, 0.0
    for text in texts_of(args.texts, args.count):
        ids = peer.tokenize(text.encode(), add_bos=False, special=False)[: args.tokens]
        peer.reset()
        peer.eval(ids)
        theirs = torch.from_numpy(numpy.array(peer.scores[: len(ids)], dtype=numpy.float32))
        with torch.inference_mode():
            exact = reference(torch.tensor([ids])).logits[0].float()
        log_p, log_q = (torch.log_softmax(logits.double(), dim=-1) for logits in (exact, theirs))
        of_each = (log_p.exp() * (log_p - log_q)).sum(dim=-1)
        kl, largest = kl + of_each.sum().item(), max(largest, of_each.max().item())
        same += (exact.argmax(dim=-1) == theirs.argmax(dim=-1)).sum().item()
        positions += len(ids)
    print(f"llama.cpp is {kl / positions:.1e} nats per token from float32 (at most {largest:.1e}) and puts the same token "
          f"first at {100 * same / positions:.2f} % of {positions} positions")


main()
