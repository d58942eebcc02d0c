#!/usr/bin/env bash
# sseclient 0.0.27 and aiosseclient 0.1.8 end a line at characters of the text, and requests-sse
# 0.5.3 removes indentation.
#
# Expected: server-sent events as in the HTML standard (9.2.5 and 9.2.6): a line ends with a line
# feed, a carriage return or both, and after "data:" one space is removed. httpx-sse 0.4.3 does so.
# Seen: the first two split as Python's splitlines does, which also knows U+2028, U+0085 and the
# form feed; what follows in the line is dropped, as a field of another name. JSON allows U+2028 and
# U+0085 in strings, and servers that write text as it is send them: of {"text": "one U+2028 two"}
# half arrives. requests-sse removes all spaces after "data:", so streamed code comes flush left.
# It matters to whoever reads a model's stream with one of these: a part of the answer is lost, or
# its JSON cannot be read, when such a character comes up.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check \
    sseclient==0.0.27 aiosseclient==0.1.8 requests-sse==0.5.3 httpx-sse==0.4.3 \
    aiohttp==3.14.5 httpx==0.28.1 requests==2.34.2
cd "$folder"
NO_PROXY=127.0.0.1 no_proxy=127.0.0.1 env/bin/python - <<'PYTHON'
import asyncio
import json
import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
from aiosseclient import aiosseclient
from httpx_sse import connect_sse
from requests_sse import EventSource
from sseclient import SSEClient

logging.disable()
wanted = [json.dumps({"text": f"one{mark}two"}, ensure_ascii=False) for mark in "\u2028\x85"]
wanted += ["    return x"]
body = "".join(f"data: {data}\n\n" for data in [*wanted, "[DONE]"]).encode()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def until_done(events):
    found = []
    for event in events:
        if event.data == "[DONE]":
            return found
        found.append(event.data)


async def collect(url):
    return [event async for event in aiosseclient(url)]


with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/"
    seen = {"sseclient": until_done(SSEClient(url))}
    seen["aiosseclient"] = until_done(asyncio.run(collect(url)))
    with EventSource(url, timeout=10) as events:
        seen["requests-sse"] = until_done(events)
    with httpx.Client() as client, connect_sse(client, "GET", url) as source:
        seen["httpx-sse"] = until_done(source.iter_sse())
    server.shutdown()
for name, found in seen.items():
    print(name, found)
cut = ['{"text": "one', '{"text": "one', "    return x"]
assert seen["sseclient"] == seen["aiosseclient"] == cut
assert seen["requests-sse"] == [*wanted[:2], "return x"]
assert seen["httpx-sse"] == wanted
PYTHON
