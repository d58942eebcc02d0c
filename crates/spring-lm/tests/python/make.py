"""Writes templates.json and tokens.json: what transformers makes of small templates and tokenizer files.

    python make.py    (transformers 5.24, in this folder)

templates.json: one line of templates.txt after the other, and what is rendered of it, or null where
transformers refuses. tokens.json: files beside a tokenizer, and the ids of a conversation.
"""

import datetime
import json
import pathlib
import shutil
import tempfile

from transformers import AutoTokenizer
from transformers.utils import chat_template_utils as utils

HERE = pathlib.Path(__file__).parent
DAY = 1_764_374_400
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
MESSAGES = [{"role": "user", "content": " héllo <b>\n it's"}, {"role": "assistant", "content": "B"}]


class Fixed(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(DAY, datetime.timezone.utc).replace(tzinfo=None)


def rendered(template):
    try:
        texts, _ = utils.render_jinja_template(conversations=[MESSAGES], chat_template=template,
                                               add_generation_prompt=True, **TOKENS)
        return texts[0]
    except Exception:
        return None


def templates():
    utils.datetime = Fixed
    lines = (HERE / "templates.txt").read_text().splitlines()
    # A line holds a template with its line ends and backslashes written as in JSON.
    sources = [json.loads(f'"{line}"') for line in lines if line and not line.startswith("#")]
    return [{"template": source, "text": rendered(source)} for source in sources]


CHATML = ("{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}"
          "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")


def token(content, special=True):
    return {"content": content, "lstrip": False, "rstrip": False, "single_word": False, "normalized": False,
            "special": special}


def tokens():
    own = {"0": token("<|pad|>"), "1": token("<|begin|>"), "2": token("<|end|>")}
    named = {"bos_token": "<|begin|>", "eos_token": "<|im_end|>", "tokenizer_class": "PreTrainedTokenizerFast"}
    added = {**own, "318": token("<|im_start|>"), "319": token("<|im_end|>", special=False)}
    cases = {
        "added_tokens_decoder": {"tokenizer_config.json": {**named, "chat_template": CHATML, "added_tokens_decoder": added}},
        "added_tokens.json": {
            "tokenizer_config.json": {**named, "chat_template": CHATML},
            "added_tokens.json": {"<|im_end|>": 319, "<|im_start|>": 318},
            "special_tokens_map.json": {"eos_token": token("<|im_end|>"), "extra_special_tokens": ["<|im_start|>"]},
        },
        "extra tokens": {"tokenizer_config.json": {**named, "chat_template": CHATML, "additional_special_tokens": ["<|im_start|>"]}},
        "named templates": {"tokenizer_config.json": {**named, "added_tokens_decoder": added, "chat_template": [
            {"name": "tool_use", "template": "{{ raise_exception('no') }}"}, {"name": "default", "template": CHATML}]}},
        "template files": {
            "tokenizer_config.json": {**named, "added_tokens_decoder": added, "chat_template": "{{ 'other' }}"},
            "chat_template.jinja": CHATML.replace("\\n", "\n").replace("{% for", "\r\n{% for"),
            "additional_chat_templates/rag.jinja": "x",
        },
        "a named template file alone": {"tokenizer_config.json": {**named, "added_tokens_decoder": added},
            "additional_chat_templates/rag.jinja": "x"},
        "no default": {"tokenizer_config.json": {**named, "chat_template": [{"name": "rag", "template": "x"}]}},
        "own names": {"tokenizer_config.json": {**named, "turn_token": "<|end|>", "chat_template":
                      "{{ turn_token }}{{ bos_token }}{{ mask_token is defined }}{{ messages[0].content }}"}},
    }
    out = []
    for name, files in cases.items():
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            shutil.copy(HERE / "../fixtures/tiny-llama/tokenizer.json", folder)
            for file, content in files.items():
                (folder / file).parent.mkdir(exist_ok=True)
                text = content if isinstance(content, str) else json.dumps(content)
                (folder / file).write_bytes(text.encode())
            (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
            messages = [{"role": "user", "content": "hello there"}]
            try:
                tokenizer = AutoTokenizer.from_pretrained(folder)
                ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False)
            except Exception:
                ids = None
            out.append({"name": name, "files": files, "ids": ids})
    return out


def write(name, value):
    (HERE / name).write_text(json.dumps(value, ensure_ascii=True, indent=0) + "\n")


if __name__ == "__main__":
    write("templates.json", templates())
    write("tokens.json", tokens())
