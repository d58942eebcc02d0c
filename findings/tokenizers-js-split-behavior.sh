#!/usr/bin/env bash
# @huggingface/tokenizers 0.2.0 (npm, the tokenizers of Transformers.js): of the five behaviours of
# the pre-tokenizer Split it knows two, and takes the others for "Isolated".
#
# Expected: the ids of tokenizers 0.23.3 for the same tokenizer.json, or an error for what is not
# supported.
# Seen: "MergedWithPrevious", "MergedWithNext" and "Contiguous" give the pieces of "Isolated", so
# other ids; "Removed" with a plain string keeps the delimiter; and with `invert` everything
# outside the matches is dropped from the text, which only "Removed" asks for. Nothing is said.
# It matters to whoever tokenizes in a browser for a model that was tuned elsewhere.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check tokenizers==0.23.3
cd "$folder"
npm install --silent --no-fund --no-audit @huggingface/tokenizers@0.2.0
cat > write.py <<'PYTHON'
import json

from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split

pieces = ["[UNK]", "a", "b", " ", "a ", "b ", " a", " b", "  "]
cases = []
behaviors = ["isolated", "removed", "merged_with_previous", "merged_with_next", "contiguous"]
for behavior in behaviors:
    for pattern, invert in ((" ", False), (Regex(r"\s"), False), (Regex(r"\S"), True)):
        model = WordLevel({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]")
        tokenizer = Tokenizer(model)
        tokenizer.pre_tokenizer = Split(pattern, behavior, invert=invert)
        kind = "string" if pattern == " " else "inverted" if invert else "regex"
        file = json.loads(tokenizer.to_str())
        cases.append([f"{behavior}, {kind}", file, tokenizer.encode("a b  a").tokens])
json.dump(cases, open("cases.json", "w"))
PYTHON
env/bin/python write.py
cat > compare.mjs <<'JS'
import { readFileSync } from "node:fs";
import { Tokenizer } from "@huggingface/tokenizers";
const cases = JSON.parse(readFileSync("cases.json", "utf8"));
const differ = [];
for (const [name, file, expected] of cases) {
  const seen = new Tokenizer(file, {}).encode("a b  a").tokens;
  console.log(name, JSON.stringify(expected), JSON.stringify(seen));
  if (JSON.stringify(seen) !== JSON.stringify(expected)) differ.push(name);
}
const same = ["isolated, string", "isolated, regex", "removed, regex", "removed, inverted"];
const wanted = cases.map(([name]) => name).filter((name) => !same.includes(name));
if (JSON.stringify(differ) !== JSON.stringify(wanted)) {
  console.log("the list of differences has changed:", differ);
  process.exit(1);
}
JS
node compare.mjs
