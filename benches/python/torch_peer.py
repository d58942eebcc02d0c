"""The model's tasks by transformers and peft on torch, CPU, float32."""

import os
import time
import warnings

import worker

try:
    import peft
    import torch
    import transformers
    from torch.nn.functional import cross_entropy, log_softmax
except ImportError as error:
    worker.missing("transformers", error)

warnings.filterwarnings("ignore")
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
torch.set_num_threads(worker.threads())
torch.manual_seed(1)
TASK = worker.task()
SYSTEM = f"transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}"


def load():
    folder, settings = TASK["model"], {}
    if os.path.isfile(folder):
        folder, settings = os.path.dirname(folder), {"gguf_file": os.path.basename(folder)}
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **settings)
    if TASK.get("adapter"):
        model = peft.PeftModel.from_pretrained(model, TASK["adapter"])
    return model.eval()


def inputs_and_labels(rows):
    """Rows of equal length as one batch; labels are -100 where nothing is to be predicted."""
    ids = torch.tensor([row["context"] + row["response"] for row in rows])
    labels = ids.clone()
    for i, row in enumerate(rows):
        labels[i, : len(row["context"])] = -100
    return ids, labels


def score():
    model = load()
    size = TASK["batch_size"]
    batches = [inputs_and_labels(TASK["rows"][i : i + size]) for i in range(0, len(TASK["rows"]), size)]

    @torch.inference_mode()
    def run():
        means = []
        begin = time.perf_counter()
        for ids, labels in batches:
            logits = model(ids, use_cache=False).logits
            # As transformers' own loss: the labels move, not the large tensor.
            shifted = torch.nn.functional.pad(labels, (0, 1), value=-100)[:, 1:]
            losses = cross_entropy(logits.flatten(0, 1), shifted.flatten(), reduction="none").view_as(shifted)
            means.append(-losses.sum(1) / (shifted >= 0).sum(1))
        result = torch.cat(means).tolist()
        return [["score", time.perf_counter() - begin]], result, []

    return run


def train():
    settings = TASK["settings"]
    lora = peft.LoraConfig(
        r=settings["rank"],
        lora_alpha=settings["alpha"],
        lora_dropout=settings["dropout"],
        target_modules=["q_proj", "v_proj"],
        task_type="CAUSAL_LM",
    )
    model = peft.get_peft_model(load(), lora)
    model.train()
    ids, labels = inputs_and_labels(TASK["rows"])
    steps = TASK["steps"]
    factors = [p for p in model.parameters() if p.requires_grad]

    def run():
        for module in model.modules():
            if isinstance(module, peft.tuners.lora.LoraLayer):
                module.reset_lora_parameters("default", True)
        losses = []
        begin = time.perf_counter()
        optimizer = torch.optim.AdamW(
            factors,
            lr=settings["learning_rate"],
            betas=(settings["beta1"], settings["beta2"]),
            eps=settings["epsilon"],
            weight_decay=settings["weight_decay"],
        )
        schedule = transformers.get_linear_schedule_with_warmup(
            optimizer, -int(-settings["warmup"] * steps // 1), steps
        )
        for _ in range(steps):
            loss = model(input_ids=ids, labels=labels, use_cache=False).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(factors, settings["max_grad_norm"])
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        return [["train", time.perf_counter() - begin]], losses[:1], []

    return run


def prefill():
    model = load()
    ids = torch.tensor([TASK["tokens"]])

    @torch.inference_mode()
    def run():
        begin = time.perf_counter()
        logits = model(ids, use_cache=True, logits_to_keep=1).logits[0, -1]
        seconds = time.perf_counter() - begin
        return [["prefill", seconds]], log_softmax(logits, -1).tolist(), []

    return run


def decode():
    model = load()
    tokens, new = TASK["tokens"], TASK["new_tokens"]

    @torch.inference_mode()
    def run():
        parts, result = [], []
        for rows in TASK["rows"]:
            for position in TASK["positions"]:
                context, given = tokens[: position - new], tokens[position - new : position]
                # `generate` runs this loop too, with more around it.
                cache = model(torch.tensor([context] * rows), use_cache=True, logits_to_keep=1).past_key_values
                kept = []
                begin = time.perf_counter()
                for token in given:
                    logits = model(
                        torch.full((rows, 1), token), past_key_values=cache, use_cache=True, logits_to_keep=1
                    ).logits[:, -1]
                    logits.argmax(-1).tolist()
                    kept.append(logits)
                parts.append([f"{rows} × {position}", time.perf_counter() - begin])
                for logits in kept:
                    result += log_softmax(logits, -1).max(-1).values.tolist()
        return parts, result, []

    return run


worker.serve(SYSTEM, {"score": score, "train": train, "prefill": prefill, "decode": decode}[TASK["task"]]())
