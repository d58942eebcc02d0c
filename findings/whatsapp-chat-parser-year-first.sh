#!/usr/bin/env bash
# whatsapp-chat-parser 4.0.2 (npm): dates that begin with the year can be read as year, day, month.
#
# Expected: 2024-03-05 is the fifth of March. The guess between day and month that its documentation
# describes is for dates like 03/05/2024; in ISO 8601, and in the locales that begin with the year,
# such as Swedish and Japanese, the month comes second.
# Seen: the year is recognised, and then day and month are guessed as if it stood at the end. A chat
# of one day, or with one message on the fifth of each month, is read as the first, second and
# third of May; as soon as any day is above 12 all dates are right. `daysFirst: false` is obeyed.
# It matters to whoever orders a person's texts by time, or holds the newest ones out for a test.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-fund --no-audit whatsapp-chat-parser@4.0.2
cat > run.mjs <<'JS'
import assert from "node:assert";
import { parseString } from "whatsapp-chat-parser";
function see(dates, options) {
  const chat = dates.map((date) => `${date}, 10:00 - Ann: hello`).join("\n");
  const found = parseString(chat, options).map(({ date }) => date.toLocaleDateString("sv-SE"));
  console.log(dates.join(" "), options ?? "", "->", found.join(" "));
  return found;
}
const monthly = ["2024-01-05", "2024-02-05", "2024-03-05"];
assert.deepEqual(see(["2024-01-05"]), ["2024-05-01"]);
assert.deepEqual(see(monthly), ["2024-05-01", "2024-05-02", "2024-05-03"]);
assert.deepEqual(see(["2024/10/01", "2024/11/01"]), ["2024-01-10", "2024-01-11"]);
assert.deepEqual(see(monthly, { daysFirst: false }), monthly);
assert.deepEqual(see([...monthly, "2024-03-13"]), [...monthly, "2024-03-13"]);
JS
node run.mjs
