// Drives a running server with openai-node.
//
//     node with_openai.js URL [KEY]

import assert from "node:assert/strict";
import OpenAI from "openai";
import { VERSION } from "openai/version";

const TEXT = "Dear all, thank you for the long talk about the garden yesterday; I wrote down";
const [url, key = "none"] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url.replace(/\/$/, "")}/v1`, apiKey: key, maxRetries: 20 });
const model = (await client.models.list()).data[0].id;
const messages = [{ role: "user", content: TEXT }];
const asked = { model, messages, seed: 1, max_tokens: 16 };

async function refused(more, code) {
  await assert.rejects(
    client.chat.completions.create({ ...asked, ...more }),
    (error) => {
      assert.equal(error.code, code);
      assert.ok(error.requestID, "x-request-id is missing");
      return true;
    },
  );
}

const tests = {
  async streaming() {
    const whole = await client.chat.completions.create(asked);
    const { content } = whole.choices[0].message;
    const stream = await client.chat.completions.create({
      ...asked,
      stream: true,
      stream_options: { include_usage: true },
    });
    let text = "";
    let last;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta?.content ?? "";
      last = chunk;
    }
    assert.equal(text, content);
    assert.deepEqual(last.choices, []);
    assert.deepEqual(last.usage, whole.usage);
  },

  // It throws where a role or a reason to finish is missing.
  async helper() {
    const stream = client.chat.completions.stream({ ...asked, n: 2 });
    const final = await stream.finalChatCompletion();
    assert.equal(final.choices.length, 2);
    for (const choice of final.choices) {
      assert.equal(choice.message.role, "assistant");
      assert.ok(choice.finish_reason);
    }
  },

  async seedsAndStops() {
    const text = async (more) =>
      (await client.chat.completions.create({ ...asked, ...more })).choices[0].message.content;
    assert.equal(await text({ temperature: 1.5 }), await text({ temperature: 1.5 }));
    const whole = await text({});
    const stop = whole.slice(whole.length / 2, whole.length / 2 + 3);
    const cut = await text({ stop: ["@1", "@2", "@3", "@4", "@5", stop] });
    assert.equal(cut, whole.slice(0, whole.indexOf(stop)));
  },

  async logprobs() {
    const more = { logprobs: true, top_logprobs: 2 };
    const { choices } = await client.chat.completions.create({ ...asked, ...more });
    for (const token of choices[0].logprobs.content) {
      assert.ok(token.logprob <= 0 && token.top_logprobs.length === 2);
    }
  },

  async refusals() {
    const tool = { type: "function", function: { name: "f", parameters: {} } };
    await refused({ tools: [tool] }, "unsupported_parameter");
    await refused({ tools: [tool], stream: true }, "unsupported_parameter");
    await refused({ model: "gpt-4o" }, "model_not_found");
    await refused({ n: 0 }, "invalid_value");
  },

  async cancelling() {
    const stream = await client.chat.completions.create({ ...asked, stream: true, n: 2 });
    for await (const chunk of stream) {
      assert.ok(chunk.id);
      stream.controller.abort();
      break;
    }
    const waiting = new AbortController();
    const answer = client.chat.completions.create({ ...asked, n: 2 }, { signal: waiting.signal });
    waiting.abort();
    await assert.rejects(answer, OpenAI.APIUserAbortError);
    await client.chat.completions.create(asked);
  },

  async retrying() {
    const many = Array.from({ length: 8 }, () =>
      client.chat.completions.create({ ...asked, n: 2 }),
    );
    for (const answer of await Promise.all(many)) {
      assert.equal(answer.choices.length, 2);
    }
  },

  async embeddings() {
    try {
      const answer = await client.embeddings.create({ model, input: ["a garden", "a talk"] });
      assert.equal(answer.data.length, 2);
      assert.ok(Array.isArray(answer.data[0].embedding));
    } catch (error) {
      assert.equal(error.code, "unsupported_parameter");
    }
  },
};

for (const [name, test] of Object.entries(tests)) {
  await test();
  console.log(`openai-node ${VERSION}: ${name} ok`);
}
