"""Runs a folder of reported cases against a built program and prints a table of verdicts.

    python xtask/cases.py CASES --program target/debug/spring [--python PYTHON] [--only 01,20]

Every case is a folder NN with `command.sh`, whose lines call `spring`, and the files that they
need. It is copied to a temporary folder and run there line by line. What is right was got from
transformers and PEFT, or is what a message has to say; the cases' own README.md tells how. A number
is right within 0.00002 nats per token; a message is right if it holds all the words listed here.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

# The day on which the reference of case 13, whose prompt holds a date, was computed.
DAY = 1_795_910_400


class Says:
    """Words that the output must hold, and words that it must not."""

    def __init__(self, *words, fails=True, never=()):
        self.words, self.fails, self.never = words, fails, never

    def __str__(self):
        return "; ".join(self.words) + (f"; exit {1 if self.fails else 0}" if self.fails is not None else "")

    def fits(self, code, output):
        exits = self.fails is None or (code != 0) == self.fails
        lower = output.lower()
        return exits and all(w.lower() in lower for w in self.words) and not any(w.lower() in lower for w in self.never)


RUST = ("invalid type", "untagged", "Some(", "expected a string", "os error 2): No such")
OK = lambda *words: Says(*words, fails=False)
NO = lambda *words: Says(*words, never=RUST)

# One entry for each line of command.sh; None is a line of the reference, or one that prepares.
RIGHT = {
    "01": [6.61721] * 3,
    "02": [6.69177] * 3,
    "04": [6.57191],
    "06": [6.6029],
    "07": [6.6029],
    "09": [OK("Leaks", "score"), OK("Leaks", "score"), OK("Planes")],
    # The second goes through a pipe, so that its exit code is that of `cut`.
    "10": [Says("two different texts", "id 1"), Says("two different texts", "id 1", fails=None),
           Says("two different texts", "id 1")],
    "12": [6.65912, 6.57849],
    "13": [6.68492],
    "14": [6.61721],
    "15": [6.46642, 6.58621],
    "17": [6.65148],
    "19": [6.58486, 6.58486, 4.86916],
    "20": [6.60104, 6.56459, 6.58486],
    "21": [6.58486],
    "22": [(6.58486, NO("adapter_model.bin", "save_file"))],
    "24": [6.58486] * 4,
    "25": [(6.57992, NO("lm_head", "merge_and_unload"))],
    "26": [6.57849],
    "27": [6.57849],
    "28": [None, 6.57849, None],
    "30": [6.57849],
    "31": [(OK("LaMP-1"), NO("citation"))],
    "32": [OK("2012-05-03"), OK("2012-05-01"), OK("2014-01-01"), OK("records"), OK("2014-01-01")],
    "35": [NO("quantization_config names bitsandbytes"), NO("quantization_config names gptq"),
           NO("quantization_config names fp8"), Says("q_proj.bias", never=("fetch it again", "readable"))],
    "36": [NO("git lfs pull")] * 3,
    "37": [NO("holds a PEFT adapter", "--adapter", "--model"), NO("holds a model, not an adapter"), NO("folder"),
           NO("pytorch_model.bin", "convert"), NO("lists model-00002-of-00002.safetensors", "not there"),
           Says("pytorch_model.bin", "safetensors", fails=None, never=("status code 404",))],
    "38": [NO("mlx-lm"), NO("peft_type is IA3; only LORA is supported")],
    "39": [None, NO("`time`", "number", "RFC 3339"), NO("`id`", "number"), NO("`prompt`", "null"), NO("JSON list", "jq -c"),
           NO("list"), NO("LaMP", "spring data convert"), NO("gzip", "unpack"), Says(fails=None), NO("list")],
    "40": [NO("record 1", "byte 196", "NaN"), NO("UTF-8"), NO("UTF-16", "convert"), Says(never=("unpack an archive",))],
    "41": [Says("eve", fails=False), None],
    "42": [6.55069, 6.57765, 6.58656, 6.59215, 6.60645, 6.61721],
}


def lines(folder):
    text = (folder / "command.sh").read_text().splitlines()
    return [line for line in text if line.strip() and not line.startswith("#")]


def judge(right, code, output):
    """Whether an output is right, and what it comes to."""
    values = re.findall(r'"nats_per_token":([0-9.]+)', output)
    got = f"{float(values[0]):.5f}" if values else output.strip().splitlines()[-1][:220] if output.strip() else f"exit {code}"
    for wanted in right if isinstance(right, tuple) else (right,):
        if isinstance(wanted, float):
            if values and abs(float(values[0]) - wanted) < 2e-5:
                return True, got
        elif wanted.fits(code, output):
            return True, got
    return False, got


def run(case, program, python, table):
    with tempfile.TemporaryDirectory() as temporary:
        place = pathlib.Path(temporary) / case.name
        shutil.copytree(case, place)
        for path in [place, *place.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
        tools = pathlib.Path(temporary) / "bin"
        tools.mkdir()
        (tools / "spring").symlink_to(program)
        # A link would lose the environment that the interpreter belongs to.
        wrapper = tools / "python"
        wrapper.write_text(f'#!/bin/sh\nexec "{python}" "$@"\n')
        wrapper.chmod(0o755)
        environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "TZ": "UTC"}
        if case.name == "13":
            environment["SOURCE_DATE_EPOCH"] = str(DAY)
        for line, right in zip(lines(case), RIGHT[case.name], strict=True):
            # A busy machine needs longer to start the little hub.
            line = line.replace("sleep 1;", "sleep 4;")
            # What was a command of its own is a built-in suite now.
            compare = r"spring eval compare --top 1 --periods 2 --methods static (\S+)"
            line = re.sub(compare, r"spring eval --suite first-loop --data texts=\1", line)
            done = subprocess.run(["bash", "-c", line], cwd=place, env=environment, capture_output=True, timeout=300)
            output = (done.stdout + done.stderr).decode(errors="replace")
            if right is None:
                continue
            good, got = judge(right, done.returncode, output)
            wanted = " or ".join(map(str, right)) if isinstance(right, tuple) else str(right)
            command = re.search(r"spring [^;|]*|cat [^;]*", line)
            table.append((case.name, command.group(0).strip() if command else line, wanted, got, good))


def cell(text):
    return str(text).replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", type=pathlib.Path)
    parser.add_argument("--program", type=pathlib.Path, default=pathlib.Path("target/debug/spring"))
    parser.add_argument("--python", type=pathlib.Path, default=pathlib.Path("/usr/bin/python3"))
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    only = set(filter(None, options.only.split(",")))
    table = []
    for case in sorted(options.cases.iterdir()):
        if case.name in RIGHT and (not only or case.name in only):
            run(case, options.program.resolve(), options.python.absolute(), table)
    good = sum(row[4] for row in table)
    print(f"{good} of {len(table)} commands in {len({row[0] for row in table})} cases are right.\n")
    print("| case | command | right | got | verdict |\n|---|---|---|---|---|")
    for name, command, wanted, got, right in table:
        print(f"| {name} | `{cell(command)}` | {cell(wanted)} | {cell(got)} | {'right' if right else 'WRONG'} |")


if __name__ == "__main__":
    main()
