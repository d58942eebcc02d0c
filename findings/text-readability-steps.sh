#!/usr/bin/env bash
# text-readability 1.1.1 (npm): Flesch's reading ease moves in steps of 8.46.
#
# Expected: 206.835 - 1.015 * words per sentence - 84.6 * syllables per word, to the two decimals
# that are given.
# Seen: the mean number of syllables is rounded to one decimal before it is multiplied, so the
# result of equal sentences is one of a few values 8.46 apart, and up to 4.2 beside the formula's.
# With 40 words in four sentences, 46, 47, 48 and 49 syllables have the same reading ease of 95.17,
# by the formula 99.40 to 93.05; the 50th costs 8.46, nearly a whole class of Flesch's scale.
# The Flesch-Kincaid grade moves in steps of 1.2 for the same reason.
# It matters to whoever uses it to say how a person's style drifts: most changes are not seen, and
# the smallest can be read as a different class.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-fund --no-audit text-readability@1.1.1
cat > run.mjs <<'JS'
import assert from "node:assert";
import readability from "text-readability";

const short = ["cat", "dog", "sun", "map", "pen"];
const long = ["water", "table", "paper", "garden", "window"];

// Four sentences of ten words, the first `count` words of two syllables and the others of one.
function text(count) {
  const sentences = [];
  for (let start = 0; start < 40; start += 10) {
    const words = [];
    for (let i = start; i < start + 10; i++) words.push((i < count ? long : short)[i % 5]);
    words[0] = words[0][0].toUpperCase() + words[0].slice(1);
    sentences.push(words.join(" ") + ".");
  }
  return sentences.join(" ");
}

const seen = [];
for (let count = 0; count <= 40; count++) {
  const syllables = 40 + count;
  assert.equal(readability.syllableCount(text(count)), syllables);
  assert.equal(readability.averageSentenceLength(text(count)), 10);
  const formula = 206.835 - 1.015 * 10 - (84.6 * syllables) / 40;
  seen.push([syllables, readability.fleschReadingEase(text(count)), formula]);
}
for (const [syllables, given, formula] of seen.slice(4, 15)) {
  console.log(`${syllables} syllables: ${given}, by the formula ${formula.toFixed(2)}`);
}
const values = [...new Set(seen.map((row) => row[1]))];
const worst = Math.max(...seen.map((row) => Math.abs(row[1] - row[2])));
console.log(`${values.length} values for ${seen.length} texts, at most ${worst.toFixed(2)} beside`);
assert.equal(values.length, 11);
assert(worst > 4 && worst < 4.3);
assert.deepEqual(seen.slice(6, 11).map((row) => row[1]), [95.17, 95.17, 95.17, 95.17, 86.71]);
JS
node run.mjs
