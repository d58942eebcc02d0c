// Uses the page of a running server as a person does, with a keyboard and on a phone.
//
//     node with_chromium.js URL USER [FOLDER]
//
// With a folder, it leaves pictures there. CHROMIUM names the browser.

import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const [url, user, folder] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox"],
});

async function opened(options = {}) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.complaints = [];
  page.elsewhere = [];
  page.on("console", (message) => message.type() === "error" && page.complaints.push(message.text()));
  page.on("pageerror", (error) => page.complaints.push(String(error)));
  page.on("request", (request) => {
    if (!request.url().startsWith(url) && !request.url().startsWith("data:")) {
      page.elsewhere.push(request.url());
    }
  });
  await page.goto(url);
  await page.getByLabel("User").fill(user);
  await page.getByRole("button", { name: "Open" }).click();
  await page.locator("#main").waitFor({ state: "visible" });
  await page.locator("#status:empty").waitFor({ state: "attached" });
  return page;
}

async function picture(page, name) {
  if (folder) {
    await page.screenshot({ path: `${folder}/${name}.png`, fullPage: true });
  }
}

// Texts that would run if they were taken for markup.
const EVIL = `<img src=x onerror="document.title='evil'"><script>document.title='evil'</script>`;
await fetch(`${url}/v1/users/${encodeURIComponent(user)}/interactions`, {
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify({ id: "evil-1", prompt: EVIL, response: `evilword ${EVIL}` }),
});

const tests = {
  async asking(page) {
    await page.getByLabel("Prompt").fill("Write a few words about the garden.");
    await page.getByLabel("Tokens").fill("24");
    await page.getByRole("button", { name: "Ask both" }).click();
    await page.locator("#used").waitFor({ state: "visible" });
    assert.notEqual(await page.locator("#base").textContent(), "");
    assert.notEqual(await page.locator("#own").textContent(), "");
    assert.match(await page.locator("#why").textContent(), /^Generation \d+/);
    await page.getByLabel("What I really used").fill("My own words about the garden.");
    await page.getByRole("button", { name: "Keep it" }).click();
    await page.getByText("Kept; it is learned").waitFor();
  },

  async searchingAndForgetting(page) {
    await page.getByLabel("Words").fill("evilword");
    await page.getByRole("button", { name: "Search", exact: true }).click();
    await page.locator("#found article").first().waitFor();
    assert.ok((await page.locator("#found").textContent()).includes(EVIL));
    assert.equal(await page.locator("#found img, #found script").count(), 0);
    assert.equal(await page.title(), "What the model learned of me");
    const forget = page.locator("#found").getByRole("button", { name: "Forget the text evil-1" });
    await forget.focus();
    await page.keyboard.press("Enter");
    await page.getByRole("dialog").waitFor();
    await page.keyboard.press("Escape");
    await forget.click();
    await page.getByRole("button", { name: "Yes" }).click();
    await page.getByText("Forgotten: ").waitFor({ timeout: 120_000 });
  },

  async learningAndGoingBack(page) {
    await page.getByRole("button", { name: "Learn what is pending now" }).click();
    const done = page.locator("#adaptations li").first().filter({ hasText: ": done" });
    await done.waitFor({ timeout: 240_000 });
    await page.locator("#chart circle").first().waitFor();
    await page.locator("#period-list summary").first().focus();
    await page.keyboard.press("Enter");
    await page.locator("#period-list table").first().waitFor();
    await page.getByRole("button", { name: "Use the base" }).click();
    await page.getByRole("button", { name: "Yes" }).click();
    await page.getByText("Now in use: the base.").waitFor();
    await page.locator("#generation-list button").first().click();
    await page.getByRole("button", { name: "Yes" }).click();
    await page.getByText("Now in use: generation").waitFor();
  },

  async contributing(page) {
    const box = page.getByLabel("Let others start from what is learned of my texts");
    await box.check();
    await page.getByText("may be learned of your texts, too").waitFor();
    const said = await (await fetch(`${url}/v1/users/${encodeURIComponent(user)}/consent`)).json();
    assert.equal(said.contribute, true);
    await box.uncheck();
    await page.getByText("Nothing more is learned of your texts").waitFor();
  },

  async everythingIsReachedByKeyboard(page) {
    await page.evaluate(() => document.body.focus());
    const reached = new Set();
    for (let step = 0; step < 400; step += 1) {
      await page.keyboard.press("Tab");
      const id = await page.evaluate(() => document.activeElement.id);
      if (id) {
        reached.add(id);
      }
    }
    for (const id of ["user", "prompt", "tokens", "temperature", "go", "query"]) {
      assert.ok(reached.has(id), `${id} cannot be reached`);
    }
  },
};

const page = await opened();
for (const [name, test] of Object.entries(tests)) {
  await test(page);
  console.log(`chromium: ${name} ok`);
}
await page.getByLabel("Prompt").fill("Write a few words about the garden.");
await page.getByRole("button", { name: "Ask both" }).click();
await page.locator("#used").waitFor({ state: "visible" });
await picture(page, "light");
assert.deepEqual(page.complaints, []);
assert.deepEqual(page.elsewhere, []);

const phone = await opened({ viewport: { width: 360, height: 740 }, colorScheme: "dark" });
const wide = await phone.evaluate(() => document.documentElement.scrollWidth - innerWidth);
assert.ok(wide <= 0, `the page is ${wide} pixels wider than a phone`);
await picture(phone, "phone-dark");
assert.deepEqual(phone.complaints, []);
console.log("chromium: phone ok");
await browser.close();
