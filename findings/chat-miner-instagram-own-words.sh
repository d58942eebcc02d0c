#!/usr/bin/env bash
# chat-miner 0.6.0, InstagramJsonParser: own messages with "to your message" or "liked a message" in
# them are dropped.
#
# Expected: all messages with a text; at most the notices that Instagram itself writes into the
# export, such as "Liked a message", are left out.
# Seen: six phrases are searched for anywhere in the text. "I will reply to your message tonight,
# promise." is gone, and so is "Add cheese in the poll." The notice that Instagram writes, with a
# capital letter, "Liked a message", stays and counts as the person's text. Nothing is said, while
# WhatsAppParser logs what it ignores. FacebookMessengerParser keeps all for the same file.
# It matters to whoever learns from a person's messages: those about answering go missing.
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
from chatminer.chatparsers import FacebookMessengerParser, InstagramJsonParser

texts = [
    "See you at eight.",
    "I will reply to your message tonight, promise.",
    "Add cheese in the poll.",
    "She never liked a message of mine.",
    "Liked a message",
]
messages = [
    {"sender_name": "Ann", "timestamp_ms": 1700000000000 + 60000 * i, "content": text}
    for i, text in enumerate(texts)
]
with open("message_1.json", "w") as file:
    json.dump({"participants": [{"name": "Ann"}], "messages": messages}, file)


def read(kind):
    parser = kind("message_1.json")
    parser.parse_file()
    return parser.parsed_messages.get_df()["message"].to_list()


kept = read(InstagramJsonParser)
print("kept:", kept)
print("dropped:", [text for text in texts if text not in kept])
assert kept == [texts[0], texts[4]]
assert read(FacebookMessengerParser) == texts
PYTHON
