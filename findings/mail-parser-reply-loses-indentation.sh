#!/usr/bin/env bash
# mail-parser-reply 1.36: the indentation of every line is lost, and of answers below or between
# quoted lines either the quoted lines are kept or the answers are dropped.
#
# Expected: `content`, "Unprocessed mail body" in its documentation, has the lines as they were
# written; and the latest reply of a mail that answers below the quotation is the answer, without
# the other person's lines, as email-reply-parser 0.5.12 has it.
# Seen: a poem, a nested list and a piece of Python come back flush left, with or without a
# quotation in the mail. A mail that begins with "... wrote:" comes back whole, the other's lines
# and the header included. With a greeting above the header, what was answered between the quoted
# lines is lost and "Hi Tom," is all.
# It matters to whoever learns from a person's mails: indented code no longer runs, and in the
# style of mailing lists another person's words are learnt as theirs.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check \
    email-reply-parser==0.5.12 mail-parser-reply==1.36
cd "$folder"
env/bin/python - <<'PYTHON'
from email_reply_parser import EmailReplyParser as Peer
from mailparser_reply import EmailReplyParser

header = "On Mon, Jan 5, 2026 at 9:00 AM Tom <tom@example.com> wrote:\n"
code = "Try this:\n\nfor x in y:\n    if x:\n        print(x)\n\n- one\n  - two"
flat = "\n".join(line.strip() for line in code.split("\n"))
below = header + "> I hate cats.\n\nI love them."
between = "Hi Tom,\n\n" + header + "> is it ok?\n\nYes.\n\n> when?\n\nTomorrow."
cases = {
    "code": (code, flat, code),
    "code above a quotation": (code + "\n\n" + header + "> how?", flat, code),
    "answer below": (below, below, "I love them."),
    "answers between": (between, "Hi Tom,", "Hi Tom,\nYes.\nTomorrow."),
}
for name, (text, expected, wanted) in cases.items():
    mail = EmailReplyParser(languages=["en"]).read(text)
    got, peer = mail.latest_reply, Peer.parse_reply(text)
    print(f"{name}: {got!r}\n    the peer: {peer!r}")
    assert got == expected != wanted == peer
assert EmailReplyParser(languages=["en"]).read(code).replies[0].content == flat
PYTHON
