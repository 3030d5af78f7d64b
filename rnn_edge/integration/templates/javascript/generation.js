// Continue a text with a language model: pipeline.onnx writes it, a few characters a run.
import { ModelError } from "./bundle.js";
import { gather } from "./pipeline.js";

// A reader sees the text grow; a run of the whole loop for each of so many costs nothing more.
const PIECE = 16;

/**
 * Yields the `length` characters that follow `prompt` (of a model of bytes, those of so many bytes);
 * an empty one starts a line. `temperature` 0
 * takes the likeliest one always; `topK` leaves only that many of the likeliest, `topP` those that
 * have this share together; a `seed`, a BigInt above 2 ** 53, gives the same text in every program
 * of this bundle. A tune ends before an empty line.
 */
export async function* generate(
  model, prompt, { length = 200, temperature = 1, topK = 0, topP = 1, seed = Date.now() } = {},
) {
  if (!Number.isSafeInteger(length) || length < 1) {
    throw new ModelError(`length must be a whole number of at least 1, got ${length}.`);
  }
  const whole = (name, value) => {
    const isWhole = typeof value === "bigint" ? BigInt.asIntN(64, value) === value : Number.isSafeInteger(value);
    if (!isWhole) throw new ModelError(`${name} must be a whole number of 64 bits, got ${value}.`);
    return BigInt64Array.of(BigInt(value));
  };
  const options = {
    temperature: model.tensor("float32", Float32Array.of(temperature), []),
    top_k: model.tensor("int64", whole("topK", topK), []),
    top_p: model.tensor("float32", Float32Array.of(topP), []),
  };
  const { states, inputs: [{ name: reads }] } = model.bundle.graph("pipeline");
  let carried = { seed: model.tensor("int64", whole("seed", seed), [1]) };
  const { styles } = model.contract.decoder;
  let before = prompt.at(-1);
  for (let left = length; left > 0; left -= PIECE) {
    const max_new = model.tensor("int64", whole("length", Math.min(left, PIECE)), []);
    const given = gather(model, [prompt]);
    const outputs = await model.run({ ...given, ...options, ...carried, max_new }, "pipeline");
    carried = Object.fromEntries(states.map((pair) => [pair.input, outputs[pair.output]]));
    const characters = [...outputs.text.data[0]];
    for (const character of characters) {
      // A tune ends before an empty line.
      if (styles?.length && character === "\n" && before === "\n") return;
      yield character;
      before = character;
    }
    // A model of bytes may have written a part of a character, which its state holds.
    prompt = reads === "bytes" ? lastByte(model, outputs) : characters.at(-1) ?? "";
  }
}

/** What a person has written for an option: a BigInt where `isWhole`, else a number. */
export function parseNumber(name, text, isWhole) {
  const form = isWhole ? /^[+-]?\d+$/ : /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
  if (!form.test(text.trim())) {
    throw new ModelError(`${name} must be a ${isWhole ? "whole" : "decimal"} number, got ${text || "none"}.`);
  }
  return isWhole ? BigInt(text.trim()) : Number(text);
}

function lastByte(model, { generated }) {
  return Uint8Array.of(Number(generated.data.at(-1)) - model.contract.front_end.offset);
}
