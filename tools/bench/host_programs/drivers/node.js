// For each count on standard input, runs so many steps and prints microseconds each.
import { createInterface } from "node:readline";
import { load } from "./index.js";
import { steps, zeros } from "./steps.js";

const model = await load();
const stream = model.stream();
const frame = zeros(model, stream);
for await (const line of createInterface({ input: process.stdin })) {
  console.log((await steps(stream, frame, Number(line))).toFixed(4));
}
