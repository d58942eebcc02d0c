#!/usr/bin/env bash
# chat-miner 0.6.0, TelegramJsonParser: words with formatting in them fall apart.
#
# Expected: the text as it was sent. In Telegram's export a message with bold words, links or names
# is a list of pieces, which joined are the text, with all its spaces.
# Seen: the pieces are joined by a space more. "un" + bold "believ" + "able" becomes "un believ
# able", "(see" + link + ")." gets a space before the bracket, and a bold word has two spaces on
# both sides. Messages without formatting, which are one string, are right.
# It matters to whoever measures or learns a person's style: punctuation after a space and double
# spaces are taken for habits of those who use links and names.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check \
    chat-miner==0.6.0 polars==2.1.0 matplotlib==3.11.2 numpy==2.4.6
cd "$folder"
env/bin/python -W ignore - <<'PYTHON' 2>/dev/null
import json
import logging

logging.disable(logging.INFO)
from chatminer.chatparsers import TelegramJsonParser

formatted = [
    ["That is un", {"type": "bold", "text": "believ"}, "able!"],
    ["(see ", {"type": "link", "text": "https://example.org"}, ")."],
    ["Ask ", {"type": "mention", "text": "@tom"}, ", he knows."],
    "Plain, as ever.",
]
messages = [
    {"id": i, "type": "message", "date_unixtime": str(1700000000 + i), "from": "Ann", "text": text}
    for i, text in enumerate(formatted)
]
with open("result.json", "w") as file:
    json.dump({"name": "Ann", "type": "personal_chat", "id": 1, "messages": messages}, file)
parser = TelegramJsonParser("result.json")
parser.parse_file()
read = parser.parsed_messages.get_df()["message"].to_list()
for text in read:
    print(repr(text))
assert read == [
    "That is un believ able!",
    "(see  https://example.org ).",
    "Ask  @tom , he knows.",
    "Plain, as ever.",
]
PYTHON
