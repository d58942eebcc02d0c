"""Greedy tokens of llama.cpp and of this project on a GGUF model, with and without a LoRA adapter from a GGUF file.

    python3 -m venv venv && venv/bin/pip install xllamacpp==2026.10.11549
    cargo build --release -p spring-benches
    venv/bin/python benches/python/gguf_lora.py target/release/spring-benches MODEL.gguf [ADAPTER.gguf]

Without a file the adapter is a random one on all seven projections, written by this project: queries and keys are among
them, whose rows a file of the architecture llama has in another order. `spring export --adapter-format gguf` writes one
that was learned. Two things are compared:

- the log-probabilities of the ten likeliest tokens after each prompt, also those of this project without the adapter with
  those of llama.cpp with it, which says how large a difference an adapter makes that is not applied;
- greedy tokens up to the first other one; where either program has its two best tokens within TIE nats there, it is a tie,
  which the rounding of the activations decides: llama.cpp rounds them to 8 bits.

Exit code 1 if a prompt differs elsewhere, or the adapter brings the two much further apart than they are without it.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import xllamacpp

PROMPTS = [
    "Once upon a time", "The capital of France is", "def fibonacci(n):", "Dear Ms. Lopez,\n\nthank you for",
    "Water boils at", "In 1969, the first", "My favourite film is", "The three primary colours are",
    "To bake bread, you need", "Roses are red,", "import numpy as np\n", "Q: What is 7 times 8?\nA:",
    "The meeting on Tuesday", "Gravity is the force that", "A haiku about the sea:\n", "Subject: Your invoice\n\n",
    "List of fruits: apple,", "He opened the door and", "The derivative of x squared is", "Breaking news:",
]
NEW = 32
TIE = 0.4


def ours(program, model, prompts, adapter):
    command = [program, "greedy", model, prompts, str(NEW)] + (["--adapter", adapter] if adapter else [])
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def server(model, adapter):
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.n_gpu_layers = 0
    params.n_ctx = 512
    params.n_parallel = 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 2
    params.cache_prompt = False
    params.cache_ram_mib = 0
    params.verbosity = 0
    if adapter:
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(adapter, 1.0)]
    return xllamacpp.Server(params)


def theirs(of, tokens):
    answer = of.handle_completions(
        {"prompt": tokens, "n_predict": NEW, "temperature": 0, "n_probs": 10, "cache_prompt": False}
    )
    steps = [step["top_logprobs"] for step in answer["choices"][0]["logprobs"]["content"]]
    margins = [step[0]["logprob"] - step[1]["logprob"] for step in steps]
    return [step[0]["id"] for step in steps], margins, {token["id"]: token["logprob"] for token in steps[0]}


def distance(mine, next_of):
    """The mean difference of log-probabilities, of those tokens that both tell."""
    own = dict(mine["next"])
    both = [abs(own[token] - value) for token, value in next_of.items() if token in own]
    return sum(both) / max(len(both), 1)


def compare(name, ours_of, base, of):
    """How many prompts differ, and the mean distances of the next tokens: as it should be, and without the adapter."""
    same = ties = wrong = 0
    distances = [0.0, 0.0]
    for prompt, mine, without in zip(PROMPTS, ours_of, base):
        found, margins, after = theirs(of, mine["context"])
        distances[0] += distance(mine, after) / len(PROMPTS)
        distances[1] += distance(without, after) / len(PROMPTS)
        length = min(len(found), len(mine["tokens"]))
        at = next((i for i in range(length) if found[i] != mine["tokens"][i]), None)
        if at is None:
            same += 1
        elif min(margins[at], mine["margins"][at]) < TIE:
            ties += 1
            print(f"{name}, {prompt!r}: a tie at token {at} ({mine['margins'][at]:.3f} here, {margins[at]:.3f} there)")
        else:
            wrong += 1
            print(f"{name}, {prompt!r}: token {at} is {mine['tokens'][at]} here and {found[at]} there "
                  f"({mine['margins'][at]:.3f} here, {margins[at]:.3f} there)")
    print(f"{name}: {same} of {len(PROMPTS)} prompts the same {NEW} tokens, {ties} up to a tie, {wrong} different")
    print(f"{name}: log-probabilities of the next token are {distances[0]:.3f} nats apart")
    return wrong, distances


def main():
    program, model = sys.argv[1:3]
    with tempfile.TemporaryDirectory() as folder:
        adapter, prompts = str(Path(folder, "adapter.gguf")), Path(folder, "prompts.json")
        prompts.write_text(json.dumps(PROMPTS), encoding="utf-8")
        if len(sys.argv) > 3:
            adapter = sys.argv[3]
        else:
            subprocess.run([program, "adapter", model, adapter], check=True)
        base = ours(program, model, str(prompts), None)
        adapted = ours(program, model, str(prompts), adapter)
        changed = sum(a["tokens"] != b["tokens"] for a, b in zip(base, adapted))
        print(f"the adapter changes the answers to {changed} of {len(PROMPTS)} prompts")
        wrong, (near, _) = compare("base", base, base, server(model, None))
        more, (with_it, without) = compare("with the adapter", adapted, base, server(model, adapter))
    print(f"an adapter that is not applied puts them {without:.3f} nats apart")
    sys.exit(wrong + more > 0 or changed < len(PROMPTS) // 2 or with_it > max(2 * near, without / 2))


main()
