#!/usr/bin/env bash
# llm-chunk 0.0.1 (npm): with its defaults it glues every second paragraph to the one before, and a
# text's end is never cut.
#
# Expected: chunks by paragraph, each of at most `maxLength` characters up to the end of a word, as
# the options are described.
# Seen: two paragraphs make a chunk, with nothing between them: the last word of the one and the
# first word of the other become one word, "uncle.She". The loop takes every second piece for a
# separator, which the pattern for sentences keeps and the one for paragraphs does not. A paragraph
# is cut once: with `maxLength: 500` 5000 characters come as 504, 500 and 3996. (An example in its
# documentation has such a last chunk, without a word about it.)
# It matters to whoever splits notes for retrieval or training: words are lost at half of all
# breaks, and what goes beyond a model's window is cut off without a word.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-fund --no-audit llm-chunk@0.0.1
cat > run.mjs <<'JS'
import assert from "node:assert";
import { chunk } from "llm-chunk";
const text = "I met my uncle.\n\nShe came later.\n\n- tea\n- bread\n\nThen we left.";
const paragraphs = chunk(text);
console.log("paragraphs:", JSON.stringify(paragraphs));
assert.deepEqual(paragraphs, ["I met my uncle.She came later.", "- tea\n- breadThen we left."]);
const sentences = chunk(text, { splitter: "sentence" });
console.log("sentences:", JSON.stringify(sentences));
assert(sentences.includes("I met my uncle.") && sentences.includes("Then we left."));
const lengths = chunk("word ".repeat(1000), { maxLength: 500 }).map((piece) => piece.length);
console.log("5000 characters, maxLength 500:", JSON.stringify(lengths));
assert.deepEqual(lengths, [504, 500, 3996]);
JS
node run.mjs
