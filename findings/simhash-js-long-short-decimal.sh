#!/usr/bin/env bash
# simhash-js 1.0.0 (npm): of texts longer than 512 characters only a part is hashed, texts of up to
# four are all 0, and hashes are compared as if their decimal digits were hexadecimal ones.
#
# Expected: Charikar's hash, as its documentation says: texts that differ in a byte have similar
# hashes, and the comparator counts the bits that differ.
# Seen: of the pieces of four characters the 128 with the smallest hashes are meant to be combined,
# and exactly those are dropped: two different texts of 516 characters that have "rice" at the end
# in common have the same hash. "no" and "yes!" both have 0. The pieces do not overlap, so one
# character more at the start makes two texts as different as unrelated ones. Comparator takes the
# number that SimHash gives for hexadecimal digits: 7 and 8 differ in 8 bits and not 4, 0 and 1
# in 2, and 255 and 256, which share none, are similar to two thirds.
# It matters to whoever removes near-duplicates before training: other texts go than are meant.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-fund --no-audit simhash-js@1.0.0
cat > run.mjs <<'JS'
import assert from "node:assert";
import { createRequire } from "node:module";
const { Comparator, SimHash } = createRequire(import.meta.url)("simhash-js");
const hash = (text) => new SimHash().hash(text);
const bits = (number) => (number >>> 0).toString(2).replaceAll("0", "").length;

const lake = "We went to the lake, had a swim and ate our bread in the sun until the rain came. ";
const notes = "My notes on index structures: a graph of neighbours, with few links at the top. ";
const long = [lake, notes].map((text) => text.repeat(7).slice(0, 512));
for (const end of ["", "rice"]) {
  const [a, b] = long.map((text) => hash(text + end));
  console.log(`${512 + end.length} characters: ${a} and ${b}, ${bits(a ^ b)} bits differ`);
  assert(end === "" ? bits(a ^ b) > 8 : a === b);
}
const short = ["no", "cat", "yes!"].map(hash);
console.log("short texts:", short.join(" "));
assert.deepEqual(short, [0, 0, 0]);

let state = 1;
const random = () => (state = (state * 48271) % 2147483647) / 2147483647;
const letters = "abcdefghijklmnopqrst ";
const letter = () => letters[Math.floor(random() * 21)];
const text = () => Array.from({ length: 400 }, letter).join("");
const sums = { "one replaced": 0, "one more": 0, unrelated: 0 };
for (let i = 0; i < 500; i++) {
  const one = text();
  sums["one replaced"] += bits(hash(one) ^ hash("x" + one.slice(1))) / 500;
  sums["one more"] += bits(hash(one) ^ hash("x" + one)) / 500;
  sums.unrelated += bits(hash(one) ^ hash(text())) / 500;
}
console.log("mean of bits that differ:", sums);
assert(sums["one replaced"] < 2 && sums["one more"] > 11);
assert(Math.abs(sums["one more"] - sums.unrelated) < 1);

for (const [a, b, seen] of [[7, 8, 8], [0, 1, 2], [255, 256, 4]]) {
  const distance = Comparator.hammingDistance(a, b);
  console.log(`${a} and ${b}: distance ${distance}, true ${bits(a ^ b)}`);
  assert(distance === seen && distance !== bits(a ^ b));
}
const similarity = Comparator.similarity(255, 256);
console.log(`255 and 256: similarity ${similarity.toFixed(2)}, shared bits ${bits(255 & 256)}`);
assert(similarity > 0.66);
JS
node run.mjs
