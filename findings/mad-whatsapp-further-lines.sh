#!/usr/bin/env bash
# mad-whatsapp 0.6: of a message of several lines a file gives the first one, and a string all of
# them run together; "null" is cut out of words.
#
# Expected: the same messages from `parse_whatsapp_file` and `parse_whatsapp_conversation`, with
# their line breaks; "null", which an export has in place of some media, dropped if it is all.
# Seen: from a file the further lines are gone. From a string they are joined with nothing between:
# "tea" and "bread" become "teabread". And every "null" in a text goes, in any case: "annulled" is
# read as "aned", "Nullarbor" as "arbor".
# It matters to whoever learns how a person writes from their chats: longer messages are cut or hold
# words that nobody wrote.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check mad-whatsapp==0.6
cd "$folder"
env/bin/python - <<'PYTHON'
from pathlib import Path

from mad_whatsapp.wap import parse_whatsapp_conversation, parse_whatsapp_file

export = """\
13/02/2024, 10:00 - Ann: please buy
tea
bread

and milk
13/02/2024, 10:01 - Ben: they annulled our trip across the Nullarbor
"""
Path("chat.txt").write_text(export, encoding="utf-8")
results = {
    "file": parse_whatsapp_file("chat.txt"),
    "string": parse_whatsapp_conversation(export),
}
seen = {}
for name, messages in results.items():
    seen[name] = [message["content"] for message in messages]
    print(name, seen[name])
assert seen["file"][0] == "please buy"
assert seen["string"][0] == "please buyteabreadand milk"
assert seen["file"][1] == seen["string"][1] == "they aned our trip across the arbor"
PYTHON
