// node browser.js URL SCREENSHOT < actions in JSON: drives a page in headless Chromium, prints JSON.
import { readFileSync } from "node:fs";
import { chromium } from "playwright-core";

const [url, screenshot] = process.argv.slice(2);
const actions = JSON.parse(readFileSync(0, "utf8"));
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
const page = await browser.newPage({ viewport: { width: 800, height: 640 } });
page.setDefaultTimeout(60000);
const foreign = [];
const errors = [];
page.on("request", (request) => request.url().startsWith(url) || foreign.push(request.url()));
page.on("pageerror", (error) => errors.push(error.message));
await page.goto(url);
const results = [];
const steps = {
  fill: ([selector, text]) => page.fill(selector, text),
  files: ([selector, ...paths]) => page.setInputFiles(selector, paths),
  click: ([selector]) => page.click(selector),
  wait: ([selector, text]) =>
    page.waitForFunction(
      ([s, t]) => document.querySelector(s).textContent.includes(t), [selector, text],
    ),
  text: async ([selector]) => results.push(await page.textContent(selector)),
  evaluate: async ([code]) => results.push(await page.evaluate(code)),
  draw: async ([selector, points]) => {
    const box = await page.locator(selector).boundingBox();
    await page.mouse.move(box.x + points[0][0], box.y + points[0][1]);
    await page.mouse.down();
    for (const [x, y] of points.slice(1)) await page.mouse.move(box.x + x, box.y + y, { steps: 4 });
    await page.mouse.up();
  },
};
try {
  for (const [name, ...given] of actions) await steps[name](given);
  if (screenshot) await page.screenshot({ path: screenshot });
  console.log(JSON.stringify({ results, foreign: foreign.filter((u) => !u.startsWith("data:")), errors }));
} catch (error) {
  console.error(error.message, errors, await page.textContent("#error"));
  process.exitCode = 1;
} finally {
  await browser.close();
}
