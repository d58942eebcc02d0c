#!/usr/bin/env bash
# @huggingface/jinja 0.5.11 (npm; renders chat templates in JavaScript): strip, lstrip and rstrip
# ignore their argument and always strip all white space.
#
# Expected: `lstrip('\n')` removes line feeds only, as in Jinja2 3.1.6, or an error.
# Seen: `content.split('</think>')[-1].lstrip('\n')`, with which templates of models that think
# cut an earlier answer, also removes the indentation of its first line: a Python or YAML answer
# reaches the model with another meaning. `'<<a>>'.strip('<>')` stays as it is. No error.
# It matters to whoever compares prompts, token counts or scores between a browser and a server.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check jinja2==3.1.6
cd "$folder"
npm install --silent --no-fund --no-audit @huggingface/jinja@0.5.11
cat > templates.json <<'JSON'
[
  "{{ '<think>x</think>\\n\\n    return 1'.split('</think>')[-1].lstrip('\\n') }}|",
  "{{ 'a  \\n'.rstrip('\\n') }}|",
  "{{ '<<a>>'.strip('<>') }}|"
]
JSON
cat > render.mjs <<'JS'
import { readFileSync } from "node:fs";
import { Template } from "@huggingface/jinja";
const templates = JSON.parse(readFileSync("templates.json", "utf8"));
console.log(JSON.stringify(templates.map((text) => new Template(text).render({}))));
JS
node render.mjs > javascript.json
env/bin/python - <<'PYTHON'
import json

import jinja2

templates = json.load(open("templates.json"))
seen = json.load(open("javascript.json"))
expected = [jinja2.Template(text).render() for text in templates]
for text, ours, theirs in zip(templates, expected, seen):
    print(text, "Jinja2:", repr(ours), "JavaScript:", repr(theirs))
assert expected == ["    return 1|", "a  |", "a|"]
assert seen == ["return 1|", "a|", "<<a>>|"]
PYTHON
