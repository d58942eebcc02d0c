"""A GGUF model's tasks by llama.cpp, as the PyPI wheel xllamacpp ships it: its server inside this process, with its own timings."""

import threading
import time

import worker

try:
    from importlib.metadata import version

    import xllamacpp
except ImportError as error:
    worker.missing("xllamacpp", error)

TASK = worker.task()
SYSTEM = f"xllamacpp {version('xllamacpp')}"
# Its prompt cache would answer the second repetition from memory, and mixes up adapters.
NO_CACHE = {"cache_prompt": False}


def server(context, rows=1, adapters=()):
    params = xllamacpp.CommonParams()
    params.model.path = TASK["model"]
    params.n_gpu_layers = 0
    # The context is shared among the rows.
    params.n_ctx = rows * context
    params.n_parallel = rows
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = worker.threads()
    params.cache_prompt = False
    params.cache_ram_mib = 0
    params.verbosity = 0
    if adapters:
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(path, 0.0) for path in adapters]
    return xllamacpp.Server(params)


def complete(of, tokens, count, lora=None):
    request = {
        "prompt": tokens,
        "n_predict": count,
        "temperature": 0,
        "ignore_eos": True,
        "n_probs": 1,
        **NO_CACHE,
    }
    if lora is not None:
        request["lora"] = lora
    answer = of.handle_completions(request)
    if "timings" not in answer:
        raise RuntimeError(f"the server refuses: {answer}")
    timings = answer["timings"]
    if timings["cache_n"] or timings["prompt_n"] != len(tokens) or timings["predicted_n"] != count:
        raise RuntimeError(f"other work than was asked for: {timings}")
    return answer


def best(answer):
    return answer["choices"][0]["logprobs"]["content"][0]["logprob"]


def load():
    def run():
        begin = time.perf_counter()
        answer = complete(server(256), TASK["tokens"], 1)
        return [["load", time.perf_counter() - begin]], [best(answer)], []

    return run


def prefill():
    of = server(len(TASK["tokens"]) + 32)

    def run():
        answer = complete(of, TASK["tokens"], 1)
        # The server tells the likeliest token's log-probability alone; `load` compares that.
        return [["prefill", answer["timings"]["prompt_ms"] / 1e3]], [], []

    return run


def decode():
    positions, new = TASK["positions"], TASK["new_tokens"]
    of = server(max(positions) + 32)

    def run():
        parts = []
        for position in positions:
            # The first of its tokens comes from the prompt's pass and counts for no time.
            answer = complete(of, TASK["tokens"][: position - new], new + 1)
            parts.append([f"1 × {position}", answer["timings"]["predicted_ms"] / 1e3])
        return parts, [], []

    return run


def adapters():
    rows, new, adapters = TASK["rows"], TASK["new_tokens"], TASK["adapters"]
    context = TASK["tokens"][: TASK["position"] - new]
    of = server(TASK["position"] + 32, max(rows), adapters)

    def side_by_side(count):
        """Requests that begin together; seconds until the last token of the last one, without the prompts."""
        answers, begin = [None] * count, time.perf_counter()

        def ask(i):
            lora = [{"id": j, "scale": float(i == j)} for j in range(len(adapters))]
            answers[i] = complete(of, context, new + 1, lora)

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        whole = time.perf_counter() - begin
        # It runs different adapters one after the other, so all prompts are read by then.
        return whole - sum(answer["timings"]["prompt_ms"] for answer in answers) / 1e3

    def run():
        return [[f"{count} rows", side_by_side(count)] for count in rows], [], []

    return run


worker.serve(SYSTEM, {"load": load, "prefill": prefill, "decode": decode, "adapters": adapters}[TASK["task"]]())
