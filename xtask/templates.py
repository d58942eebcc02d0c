"""Compares how chat templates are rendered here and by transformers.

    python xtask/templates.py --render target/debug/examples/render PLACE...

A place is a folder, a package (.whl, .zip, .tar.gz, .tgz) or a bare git repository. Templates are
looked for in files that end in .jinja, in `chat_template` fields of JSON files, and in texts of
Python files that read `messages`. Every different one is rendered for several conversations by
`transformers.utils.chat_template_utils.render_jinja_template` and by the example `render` of the
library; a template is equal if all texts are, and if both refuse the same conversations. The
templates themselves are other people's work and are not kept.
"""

import argparse
import ast
import datetime
import io
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import zipfile

DAY = 1_764_374_400  # 2025-11-29, so that templates with a date can be compared
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}


def conversations():
    user = lambda text: {"role": "user", "content": text}
    model = lambda text: {"role": "assistant", "content": text}
    system = lambda text: {"role": "system", "content": text}
    odd = " It's <b>\"odd\"</b> & {{ x }} {% if %}\r\nmöglich\u00a0\u2028 \\n 漢字 😀\t "
    yield [user("Hello there.")], True
    yield [user("A"), model("B"), user("C")], True
    yield [user("A"), model("B")], False
    yield [system("Be brief."), user("A"), model("B"), user("C"), model("D")], False
    yield [system(odd), user(odd), model(odd), user(odd)], True
    yield [user("A"), model("<think>\nwhy\n</think>\n\nbecause"), user("C")], True
    yield [user("")], True
    yield [user("A"), user("B")], True
    yield [model("first"), user("B")], True
    yield [system("only")], True


def files(place):
    """Names and bytes of a place's files that may hold templates."""
    wanted = lambda name: name.endswith((".jinja", ".jinja2", ".json", ".py"))
    path = pathlib.Path(place)
    if (path / "objects").is_dir() and (path / "HEAD").exists():
        names = subprocess.run(["git", "-C", place, "ls-tree", "-r", "--name-only", "HEAD"],
                               capture_output=True, text=True, check=True).stdout.splitlines()
        for name in filter(wanted, names):
            shown = subprocess.run(["git", "-C", place, "show", f"HEAD:{name}"], capture_output=True)
            if shown.returncode == 0:
                yield name, shown.stdout
    elif path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.is_file() and wanted(file.name):
                yield str(file), file.read_bytes()
    elif place.endswith((".whl", ".zip")):
        with zipfile.ZipFile(place) as archive:
            for name in filter(wanted, archive.namelist()):
                yield name, archive.read(name)
    elif place.endswith((".tar.gz", ".tgz")):
        with tarfile.open(place) as archive:
            for member in archive:
                if member.isfile() and wanted(member.name):
                    yield member.name, archive.extractfile(member).read()
    elif wanted(place):
        yield place, path.read_bytes()


def in_json(value):
    if isinstance(value, dict):
        for key, item in value.items():
            if "chat_template" in key and isinstance(item, str):
                yield item
            elif key == "template" and isinstance(item, str):
                yield item
            else:
                yield from in_json(item)
    elif isinstance(value, list):
        for item in value:
            yield from in_json(item)


def in_python(source):
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def templates(places):
    found = {}
    for place in places:
        for name, data in files(place):
            try:
                text = data.decode()
            except UnicodeDecodeError:
                continue
            if "messages" not in text:
                continue
            if name.endswith((".jinja", ".jinja2")):
                texts = [text]
            elif name.endswith(".json"):
                try:
                    texts = list(in_json(json.loads(text)))
                except (ValueError, RecursionError):
                    continue
            else:
                texts = list(in_python(text))
            for template in texts:
                tags = "{%" in template or "{{" in template
                if tags and "messages" in template and len(template) < 200_000:
                    found.setdefault(template, f"{os.path.basename(place)}:{name}")
    return found


def reference(template, messages, prompt):
    from transformers.utils import chat_template_utils as utils

    class Fixed(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls.fromtimestamp(DAY, datetime.timezone.utc).replace(tzinfo=None)

    utils.datetime = Fixed
    try:
        texts, _ = utils.render_jinja_template(conversations=[messages], chat_template=template,
                                               add_generation_prompt=prompt, **TOKENS)
        return {"text": texts[0]}
    except Exception as error:  # whatever a foreign template raises
        return {"error": f"{type(error).__name__}: {error}"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--render", required=True, help="the built example `render`")
    parser.add_argument("--show", type=int, default=0, help="how many differences to print")
    parser.add_argument("places", nargs="+")
    options = parser.parse_args()
    found = templates(options.places)
    requests = [(template, messages, prompt) for template in found for messages, prompt in conversations()]
    lines = "".join(json.dumps({"template": t, "tokens": TOKENS, "messages": m, "add_generation_prompt": p}) + "\n"
                    for t, m, p in requests)
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(DAY)}
    run = subprocess.run([options.render], input=lines.encode(), stdout=subprocess.PIPE, env=environment, check=True)
    answers = [json.loads(line) for line in io.StringIO(run.stdout.decode(), newline="\n")]
    assert len(answers) == len(requests)
    unequal, refused, shown = {}, set(), 0
    rendered = set()
    for (template, messages, prompt), ours in zip(requests, answers):
        theirs = reference(template, messages, prompt)
        if "text" in theirs:
            rendered.add(template)
        if ours == theirs or ("error" in ours and "error" in theirs):
            continue
        unequal.setdefault(template, 0)
        unequal[template] += 1
        if "error" in ours:
            refused.add(template)
        if unequal[template] == 1 and shown < options.show:
            shown += 1
            print(f"--- {found[template]}\nours   {ours!r:.1200}\ntheirs {theirs!r:.1200}\n", file=sys.stderr)
    usable = [t for t in found if t in rendered]
    bad = [t for t in usable if t in unequal]
    print(f"{len(found)} texts with `messages`, {len(usable)} of which transformers renders for some conversation: "
          f"{len(usable) - len(bad)} equal for all {len(list(conversations()))} conversations, {len(bad)} unequal "
          f"({len([t for t in bad if t in refused])} refused here); of those that it never renders, "
          f"{len([t for t in unequal if t not in rendered])} are rendered here")
    for template in bad:
        print(f"unequal: {found[template]} ({unequal[template]} conversations)")


if __name__ == "__main__":
    main()
