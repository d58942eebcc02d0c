"""Reference logits of a GGUF file, by transformers in float32 over the dequantised weights.

    python3 -m venv venv && venv/bin/pip install torch transformers==5.24.0 accelerate gguf==0.19.0
    venv/bin/python gguf_logits.py MODEL.gguf TEXTS.txt OUT.safetensors [--rows 8] [--length 64]

TEXTS.txt holds texts with empty lines between; each is cut into token ids, and the first ROWS of
those that have LENGTH ids at least are used.
OUT has `input_ids` [rows, length] (i64) and `logits` [rows, length, vocabulary] (f32), as the
folders of `cargo xtask parity` have in reference.safetensors; a large vocabulary makes it large.
"""

import argparse
import os

import torch
import transformers
from safetensors.torch import save_file


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("texts")
    parser.add_argument("out")
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--length", type=int, default=64)
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    torch.use_deterministic_algorithms(True)

    folder, name = os.path.split(os.path.abspath(args.model))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=name)
    texts = open(args.texts, encoding="utf-8").read().split("\n\n")
    rows = [ids[: args.length] for ids in (tokenizer(text)["input_ids"] for text in texts)]
    rows = [row for row in rows if len(row) == args.length][: args.rows]
    if len(rows) < args.rows:
        raise SystemExit(f"{args.texts}: {len(rows)} texts of {args.length} tokens, not {args.rows}")

    load = transformers.AutoModelForCausalLM.from_pretrained
    model = load(folder, gguf_file=name, dtype=torch.float32).eval()
    with torch.inference_mode():
        # One row at a time: the logits of several may not fit beside the model.
        logits = [model(torch.tensor([row])).logits[0].float() for row in rows]
    tensors = {"input_ids": torch.tensor(rows), "logits": torch.stack(logits).contiguous()}
    versions = {"transformers": transformers.__version__, "torch": torch.__version__}
    save_file(tensors, args.out, metadata=versions)
    print({name: list(tensor.shape) for name, tensor in tensors.items()})


main()
