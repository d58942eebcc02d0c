#!/usr/bin/env bash
# okapibm25 1.4.1 (npm): query words are found inside of other words, and are patterns.
#
# Expected: words, as in rank-bm25 and bm25s; BM25 ranks bags of words.
# Seen: the number of times that the query's characters occur anywhere counts as its frequency.
# "art" ranks "we start the party" (no such word, two hits) above "the art of cooking". The word is
# also a regular expression for its frequency but plain text for its weight: "s.t" finds "sat",
# with the weight of a word that no document has, and "c++" throws an error. "Art" finds nothing,
# and `b: 0` (no correction for length) is taken for the default 0.75.
# It matters to whoever retrieves a user's texts by their keywords: short words, of which there are
# many, match nearly everything, and a question mark or a plus in the query changes the ranking.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-fund --no-audit okapibm25@1.4.1
cat > run.mjs <<'JS'
import assert from "node:assert";
import okapi from "okapibm25";
const BM25 = okapi.default ?? okapi;
const documents = ["we start the party", "the art of cooking", "a cat sat"];
const round = (scores) => scores.map((score) => Math.round(score * 100) / 100);
const see = (...query) => {
  const scores = round(BM25(documents, query));
  console.log(JSON.stringify(query), JSON.stringify(scores));
  return scores;
};
const art = see("art");
assert(art[0] > art[1] && art[1] > 0 && art[2] === 0);
assert(see("a").every((score) => score > 0));
assert.deepEqual(see("Art"), [0, 0, 0]);
const dotted = see("s.t");
assert(dotted[0] === 0 && dotted[1] === 0 && dotted[2] > 0);
assert.throws(() => see("c++"), SyntaxError);
const lengths = ["cat and many other words here", "cat", "dog", "bird"];
const without = round(BM25(lengths, ["cat"], { b: 0 }));
const standard = round(BM25(lengths, ["cat"]));
console.log("b: 0", JSON.stringify(without), "default", JSON.stringify(standard));
assert.deepEqual(without, standard);
assert(without[0] !== without[1]);
JS
node run.mjs
