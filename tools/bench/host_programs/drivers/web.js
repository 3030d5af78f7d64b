// node web.js CHROMIUM: serves this folder to a headless browser; for each count on standard input
// the page runs so many steps, and microseconds each are printed.
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const types = { html: "text/html", js: "text/javascript", mjs: "text/javascript", wasm: "application/wasm" };
const server = createServer(async ({ url }, response) => {
  try {
    const path = new URL(url, "http://localhost").pathname;
    const content = await readFile(`.${path}`);
    response.writeHead(200, { "content-type": types[path.split(".").at(-1)] ?? "application/octet-stream" });
    response.end(content);
  } catch {
    response.writeHead(404).end();
  }
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const browser = await chromium.launch({
  executablePath: process.argv[2],
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"],
});
try {
  const page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${server.address().port}/index.html`);
  await page.evaluate(async () => {
    const { load } = await import("/index.js");
    const { steps, zeros } = await import("/steps.js");
    const model = await load();
    const stream = model.stream();
    const frame = zeros(model, stream);
    globalThis.timed = (count) => steps(stream, frame, count);
  });
  for await (const line of createInterface({ input: process.stdin })) {
    console.log((await page.evaluate((count) => globalThis.timed(count), Number(line))).toFixed(4));
  }
} finally {
  await browser.close();
  server.close();
}
