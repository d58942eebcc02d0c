// The page for the person. Texts are put in as texts, never as markup.

const at = (id) => document.getElementById(id);
let user = "";
let model = "";
let asking = null;
let answered = null;

// ------------------------------------------------------------------ elements

function make(name, more = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(more)) {
    element[key] = value;
  }
  element.append(...children);
  return element;
}

function svg(name, attributes, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) {
    element.setAttribute(key, value);
  }
  element.textContent = text;
  return element;
}

function fill(id, ...children) {
  at(id).replaceChildren(...children);
}

function nothing(text) {
  return make("p", { className: "faint", textContent: text });
}

function say(text) {
  at("status").textContent = text;
}

function table(heads, rows) {
  const cell = (name) => (value) => {
    const isNumber = typeof value === "number";
    const text = isNumber && !Number.isInteger(value) ? value.toFixed(3) : value;
    return make(name, { className: isNumber ? "number" : "" }, text instanceof Node ? text : `${text ?? ""}`);
  };
  const head = make(
    "tr",
    {},
    ...heads.map((text, column) => {
      const className = rows.some((row) => typeof row[column] === "number") ? "number" : "";
      return make("th", { scope: "col", className, textContent: text });
    }),
  );
  const body = rows.map((row) => make("tr", {}, ...row.map(cell("td"))));
  return make(
    "div",
    { className: "scroll", tabIndex: 0 },
    make("table", {}, make("thead", {}, head), make("tbody", {}, ...body)),
  );
}

function day(time) {
  return (time ?? "").slice(0, 10);
}

async function sure(text) {
  const dialog = at("sure");
  at("sure-text").textContent = text;
  dialog.returnValue = "no";
  dialog.showModal();
  await new Promise((done) => dialog.addEventListener("close", done, { once: true }));
  return dialog.returnValue === "yes";
}

// ------------------------------------------------------------------ requests

async function send(path, more = {}) {
  const headers = { "content-type": "application/json" };
  const key = at("key").value;
  if (key) {
    headers.authorization = `Bearer ${key}`;
  }
  const answer = await fetch(path, { ...more, headers });
  if (!answer.ok) {
    const { error } = await answer.json().catch(() => ({ error: { message: answer.statusText } }));
    throw Object.assign(new Error(error.message), { status: answer.status });
  }
  return answer;
}

async function json(path, method = "GET", body = undefined) {
  return (await send(path, { method, body: body && JSON.stringify(body) })).json();
}

const own = (path = "") => `/v1/users/${encodeURIComponent(user)}${path}`;

// Does something, and says what went wrong with it.
async function attempt(what) {
  try {
    await what();
  } catch (error) {
    if (error.name !== "AbortError") {
      say(error.message);
    }
  }
}

// ------------------------------------------------------------------ opening

async function start() {
  at("key").value = sessionStorage.getItem("key") ?? "";
  try {
    const { data } = await json("/v1/models");
    model = data[0]?.id ?? "";
    const names = data.filter((card) => card.parent === model).map((card) => card.id.slice(model.length + 1));
    fill("users", ...names.map((value) => make("option", { value })));
    if (names.length === 1 && !at("user").value) {
      at("user").value = names[0];
    }
    say("");
  } catch (error) {
    say(error.status === 401 ? "Type in your key, and open." : error.message);
    at("key").focus();
    return;
  }
  if (at("user").value) {
    await open();
  }
}

async function open() {
  user = at("user").value;
  await refresh();
  at("main").hidden = false;
  document.querySelector("nav").hidden = false;
}

async function refresh() {
  say("Reading…");
  const [info, consent, periods, buffer, generations, adaptations] = await Promise.all(
    ["", "/consent", "/periods", "/buffer", "/generations", "/adaptations"].map((path) => json(own(path))),
  );
  showFacts(info);
  at("consent").checked = consent.keep_conversations;
  at("contribute").checked = consent.contribute;
  showAdaptations(adaptations.data);
  showChart(periods.data);
  showPeriods(periods.data);
  showBuffer(buffer.data);
  showGenerations(generations.data);
  say("");
}

// ------------------------------------------------------------------ what there is

function showFacts(info) {
  const facts = [
    ["Texts", `${info.interactions}, ${info.pending} of them not learned yet`],
    ["From", `${day(info.first)} to ${day(info.last)}`],
    ["Periods", info.periods],
    ["Generation in use", info.generation || "none: the base answers"],
    ["Texts in the buffer", info.buffer],
  ];
  fill(
    "facts",
    ...facts.flatMap(([name, value]) => [
      make("dt", { textContent: name }),
      make("dd", { textContent: value }),
    ]),
  );
  at("adapt").disabled = info.pending === 0;
}

function showAdaptations(adaptations) {
  const items = adaptations.slice(0, 5).map((one) => {
    const periods = one.periods === 0 ? "" : `, periods learned: ${one.periods}`;
    const error = one.error ? `: ${one.error}` : "";
    return make("li", { textContent: `${one.created}: ${one.state}${periods}${error}` });
  });
  fill("adaptations", ...items);
  if (adaptations.some((one) => one.state === "waiting" || one.state === "running")) {
    setTimeout(() => attempt(refresh), 2000);
  }
}

function showChart(periods) {
  const texts = periods.flatMap((period) => period.texts.map((text) => ({ ...text, period: period.period })));
  if (texts.length === 0) {
    fill("chart", nothing("No period has been learned yet."));
    return;
  }
  const [width, height, edge] = [640, 240, 40];
  const scores = texts.map((text) => text.novelty);
  const [low, high] = [Math.min(0, ...scores), Math.max(0, ...scores)];
  const x = (index) => edge + ((index + 0.5) / texts.length) * (width - edge - 8);
  const y = (score) => height - 24 - ((score - low) / (high - low || 1)) * (height - 40);
  const chart = svg("svg", {
    viewBox: `0 0 ${width} ${height}`,
    role: "img",
    "aria-label": "Novelty of each text in the order of time; the tables below have the numbers",
  });
  chart.append(svg("line", { class: "axis", x1: edge, x2: width, y1: y(0), y2: y(0) }));
  for (const value of [low, high]) {
    chart.append(svg("text", { x: 0, y: y(value) + 4 }, value.toFixed(2)));
  }
  const means = [];
  let index = 0;
  for (const period of periods) {
    const from = index;
    let sum = 0;
    for (const text of period.texts) {
      const dot = svg("circle", {
        class: text.selected === null ? "left" : "taken",
        cx: x(index),
        cy: y(text.novelty),
        r: 4,
      });
      dot.append(svg("title", {}, `${day(text.time)} ${text.id}: ${text.novelty.toFixed(3)}`));
      chart.append(dot);
      sum += text.novelty;
      index += 1;
    }
    if (index > from) {
      const middle = (x(from) + x(index - 1)) / 2;
      means.push(`${middle},${y(sum / (index - from))}`);
      chart.append(svg("line", { class: "axis", x1: x(from - 0.5), x2: x(from - 0.5), y1: 8, y2: height - 20 }));
      chart.append(svg("text", { x: middle - 4, y: height - 4 }, period.period));
    }
  }
  chart.append(svg("polyline", { class: "mean", points: means.join(" ") }));
  const words = "Novelty in nats: how much better the base expected a text than my adapter did, before it was learned. ";
  const legend = "Filled: selected for learning. Line: the periods' means, numbered below.";
  fill("chart", chart, nothing(words + legend));
}

function showPeriods(periods) {
  const items = periods.toReversed().map((period) => {
    const rows = period.texts.map((text) => [
      text.selected ?? "–",
      text.score,
      text.novelty,
      text.quality,
      day(text.time),
      text.excerpt ?? "(forgotten)",
      text.excerpt === null ? "" : forgetting(text.id),
    ]);
    const heads = ["Rank", "Score", "Novelty", "Quality", "Date", "Text", ""];
    const evicted = period.evicted.map((text) => `${text.id} (${text.reason})`).join(", ");
    return make(
      "details",
      {},
      make("summary", {
        textContent: `Period ${period.period}, ${day(period.first)} to ${day(period.last)}: ${period.selected} of ${period.texts.length} selected`,
      }),
      make("p", { textContent: period.reason }),
      nothing(`${period.gate}. ${period.steps} steps, ${period.held_out} texts held out.`),
      evicted ? nothing(`Left the buffer: ${evicted}`) : "",
      table(heads, rows),
    );
  });
  fill("period-list", ...(items.length ? items : [nothing("No period has been learned yet.")]));
}

function showBuffer(texts) {
  const items = texts.map((text) => card(text.interaction, `residual ${text.score.toFixed(3)}`));
  fill("buffer-list", ...(items.length ? items : [nothing("The buffer is empty.")]));
}

function showGenerations(generations) {
  const rows = generations.map((one) => [
    `${one.number}`,
    `${one.parent || "base"}`,
    `${one.period}`,
    day(one.finished),
    one.current ? "in use" : one.kept ? goingTo(one.number) : "pruned",
  ]);
  const anyInUse = generations.some((one) => one.current);
  rows.push(["0", "", "", "", anyInUse ? goingTo(0) : "the base, in use"]);
  fill("generation-list", table(["Number", "From", "Period", "Learned", ""], rows));
}

function card(text, note) {
  return make(
    "article",
    {},
    nothing(`${day(text.time)} ${text.id}, ${note}`),
    make("p", { className: "text faint", textContent: text.prompt }),
    make("p", { className: "text", textContent: text.response }),
    forgetting(text.id),
  );
}

// ------------------------------------------------------------------ acts

function forgetting(id) {
  const button = make("button", { type: "button", className: "danger", textContent: "Forget" });
  button.setAttribute("aria-label", `Forget the text ${id}`);
  button.addEventListener("click", () =>
    attempt(async () => {
      const question = `Forget the text ${id}? What was learned from it is learned again without it.`;
      if (!(await sure(question))) {
        return;
      }
      say("Forgetting…");
      const receipt = await json(own(`/interactions/${encodeURIComponent(id)}`), "DELETE");
      const places = receipt.removed.filter((line) => line.count > 0);
      const removed = places.map((line) => `${line.count} from ${line.place}`).join(", ");
      const again = receipt.relearned.length
        ? `; generations ${receipt.relearned.join(", ")} were learned again`
        : "";
      await refresh();
      fill("found");
      say(`Forgotten: ${removed || "it was gone already"}${again}.`);
    }),
  );
  return button;
}

function goingTo(number) {
  const where = number ? `generation ${number}` : "the base";
  const button = make("button", { type: "button", textContent: "Use this one" });
  button.setAttribute("aria-label", `Use ${where}`);
  button.addEventListener("click", () =>
    attempt(async () => {
      if (await sure(`Use ${where} from now on?`)) {
        await json(own("/rollback"), "POST", { to: number });
        await refresh();
        say(`Now in use: ${where}.`);
      }
    }),
  );
  return button;
}

// ------------------------------------------------------------------ playground

// The events of a stream, as objects.
async function* events(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) {
      return;
    }
    text += value;
    const parts = text.split("\n\n");
    text = parts.pop();
    for (const part of parts) {
      if (part.startsWith("data: ") && part !== "data: [DONE]") {
        const event = JSON.parse(part.slice(6));
        if (event.error) {
          throw new Error(event.error.message);
        }
        yield event;
      }
    }
  }
}

async function write(id, base) {
  fill(id);
  const body = {
    model: base ? model : `${model}:${user}`,
    messages: [{ role: "user", content: at("prompt").value }],
    max_tokens: at("tokens").valueAsNumber,
    temperature: at("temperature").valueAsNumber,
    stream: true,
    store: false,
    spring: { base, trace: !base },
  };
  const { signal } = asking;
  const answer = await send("/v1/chat/completions", { method: "POST", body: JSON.stringify(body), signal });
  for await (const event of events(answer)) {
    const choice = event.choices[0];
    if (choice?.delta?.content) {
      const shares = (choice.spring?.tokens ?? []).map((token) => token.retrieval_share ?? 0);
      const share = shares.reduce((sum, one) => sum + one, 0) / (shares.length || 1);
      const level = Math.min(9, Math.round(share * 10));
      const span = make("span", { textContent: choice.delta.content });
      if (level > 0) {
        span.className = `share-${level}`;
        span.title = `${Math.round(share * 100)} % from retrieved texts`;
      }
      at(id).append(span);
    }
    if (!base && event.spring) {
      answered = event.id;
      explain(event.spring);
    }
  }
}

function explain(detail) {
  const used = detail.retrieved.filter((text) => text.used).map((text) => text.id);
  const gate = detail.gate ? `The gate was ${detail.gate.open ? "open" : "closed"}: ${detail.gate.reason}. ` : "";
  const weight = detail.lambda === null ? "" : `λ ${detail.lambda.toFixed(2)}. `;
  const read = used.length ? `Read: ${used.join(", ")}.` : "";
  at("why").textContent = `Generation ${detail.generation}. ${gate}${weight}${read}`;
}

at("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(async () => {
    asking?.abort();
    asking = new AbortController();
    answered = null;
    at("why").textContent = "";
    at("used").hidden = true;
    at("halt").disabled = false;
    at("go").disabled = true;
    say("Writing…");
    try {
      await Promise.all([write("base", true), write("own", false)]);
      say("");
    } finally {
      at("halt").disabled = true;
      at("go").disabled = false;
    }
    at("final").value = at("own").textContent;
    at("used").hidden = answered === null;
  });
});

at("halt").addEventListener("click", () => {
  asking?.abort();
  say("Stopped.");
});

at("used").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(async () => {
    await json(own("/feedback"), "POST", { response_id: answered, text: at("final").value });
    await refresh();
    say("Kept; it is learned with the next period.");
  });
});

// ------------------------------------------------------------------ other forms

at("who").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("key", at("key").value);
  attempt(start);
});

async function agree(said, told) {
  try {
    await json(own("/consent"), "PUT", said);
  } finally {
    await refresh();
  }
  say(told);
}

at("consent").addEventListener("change", () =>
  attempt(async () => {
    const keep_conversations = at("consent").checked;
    const told = keep_conversations ? "Conversations are kept from now on." : "No conversation is kept any more.";
    await agree({ keep_conversations }, told);
  }),
);

at("contribute").addEventListener("change", () =>
  attempt(async () => {
    const contribute = at("contribute").checked;
    const told = contribute
      ? "What everybody new starts from may be learned of your texts, too."
      : "Nothing more is learned of your texts for others; what was learned already stays until it is learned again.";
    await agree({ contribute }, told);
  }),
);

at("find").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(async () => {
    const { data } = await json(own(`/search?q=${encodeURIComponent(at("query").value)}`));
    const items = data.map((hit) => card(hit.interaction, `score ${hit.score.toFixed(3)}`));
    fill("found", ...(items.length ? items : [nothing("Nothing was found.")]));
  });
});

at("adapt").addEventListener("click", () =>
  attempt(async () => {
    await json(own("/adapt"), "POST");
    await refresh();
  }),
);

attempt(start);
