"""A GGUF model's tasks by llama.cpp compiled for this processor: llama-cpp-python built from its source package."""

import ctypes
import time

import worker

try:
    import llama_cpp
    import numpy
except ImportError as error:
    worker.missing("llama-cpp-python", error)

TASK = worker.task()
SYSTEM = f"llama-cpp-python {llama_cpp.__version__}, compiled here"


class Model:
    def __init__(self, context):
        llama_cpp.llama_backend_init()
        llama_cpp.llama_log_set(_SILENT, ctypes.c_void_p(0))
        settings = llama_cpp.llama_model_default_params()
        settings.n_gpu_layers = 0
        self.model = llama_cpp.llama_model_load_from_file(TASK["model"].encode(), settings)
        if not self.model:
            raise RuntimeError(f"cannot load {TASK['model']}")
        settings = llama_cpp.llama_context_default_params()
        settings.n_ctx = context
        settings.n_batch = max(context, 512)
        settings.n_threads = settings.n_threads_batch = worker.threads()
        self.context = llama_cpp.llama_init_from_model(self.model, settings)
        self.vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))

    def clear(self):
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)

    def feed(self, tokens):
        # The batch points at it: it must live as long as the call below.
        ids = (llama_cpp.llama_token * len(tokens))(*tokens)
        batch = llama_cpp.llama_batch_get_one(ids, len(tokens))
        if llama_cpp.llama_decode(self.context, batch) != 0:
            raise RuntimeError("llama_decode failed")

    def logits(self):
        values = llama_cpp.llama_get_logits_ith(self.context, -1)
        return numpy.ctypeslib.as_array(values, (self.vocabulary,))

    def best(self):
        logits = self.logits().astype(numpy.float64)
        top = logits.max()
        return float(-numpy.log(numpy.exp(logits - top).sum()))

    def close(self):
        llama_cpp.llama_free(self.context)
        llama_cpp.llama_model_free(self.model)


@llama_cpp.llama_log_callback
def _SILENT(level, text, data):
    del level, text, data


def load():
    def run():
        begin = time.perf_counter()
        model = Model(256)
        model.feed(TASK["tokens"])
        best = model.best()
        seconds = time.perf_counter() - begin
        model.close()
        return [["load", seconds]], [best], []

    return run


def prefill():
    model = Model(len(TASK["tokens"]) + 32)

    def run():
        model.clear()
        begin = time.perf_counter()
        model.feed(TASK["tokens"])
        model.best()
        # As of the server, what it comes to is compared by `load`.
        return [["prefill", time.perf_counter() - begin]], [], []

    return run


def decode():
    positions, new = TASK["positions"], TASK["new_tokens"]
    model = Model(max(positions) + 32)

    def run():
        parts = []
        for position in positions:
            model.clear()
            model.feed(TASK["tokens"][: position - new])
            begin = time.perf_counter()
            for token in TASK["tokens"][position - new : position]:
                model.feed([token])
                model.logits().argmax()
            parts.append([f"1 × {position}", time.perf_counter() - begin])
        return parts, [], []

    return run


TASKS = {"load": load, "prefill": prefill, "decode": decode}
if TASK["task"] not in TASKS:
    worker.missing(SYSTEM, f"{TASK['task']} is measured with the wheel alone")
worker.serve(SYSTEM, TASKS[TASK["task"]]())
