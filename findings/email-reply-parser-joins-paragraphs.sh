#!/usr/bin/env bash
# email-reply-parser 0.5.12 (PyPI): an own text between a word "On" and a later "wrote:" is run
# together into one line, or dropped.
#
# Expected: a mail without any quotation comes back as it is.
# Seen: everything from "On " to "wrote:", over any number of paragraphs, is taken for one broken
# header line: its line breaks are deleted without a space in their place, so that "the first one /
# says" becomes "the first onesays". Where "wrote:" ends its line, the joined line counts as the
# header of a quotation, and all the text from there on is hidden, 29 of 31 words here.
# The same mail without "On" comes back unchanged. mail-parser-reply 1.36 leaves both as they are.
# It matters to whoever learns a person's style from their mails: long personal mails, which tell
# most, are the ones that have both words, and what is left has words that nobody writes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check \
    email-reply-parser==0.5.12 mail-parser-reply==1.36
cd "$folder"
env/bin/python - <<'PYTHON'
from email_reply_parser import EmailReplyParser
from mailparser_reply import EmailReplyParser as Peer

mail = """Hi Tom,

On my way home I thought about it.

I would drop chapter two, since the first one
says it all. The press wrote: yes to that.

See you soon.
"""
joined = """Hi Tom,

On my way home I thought about it.I would drop chapter two, since the first onesays it all. \
The press wrote: yes to that.

See you soon."""
broken = mail.replace("wrote: yes", "wrote:\nyes")
plain = mail.replace("On my", "All the")

for text, expected in ((mail, joined), (broken, "Hi Tom,"), (plain, plain.strip())):
    got = EmailReplyParser.parse_reply(text)
    print(len(text.split()), "words,", len(got.split()), "left:", repr(got))
    assert got == expected
    assert Peer(languages=["en"]).parse_reply(text) == text.strip()
PYTHON
