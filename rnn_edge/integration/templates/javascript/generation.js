// Continue a text with a language model, one character after the other.
import { ModelError } from "./bundle.js";
import { readText } from "./front_end.js";
import { softmax } from "./softmax.js";

/**
 * Yields `length` characters that follow `prompt`. `temperature` 0 takes the likeliest one always;
 * `topK` leaves only that many of the likeliest; a `seed` gives the same text again.
 */
export async function* generate(
  model, prompt, { length = 200, temperature = 1, topK = Infinity, seed = Date.now() } = {},
) {
  if (!(length >= 1)) throw new ModelError(`length must be at least 1, got ${length}.`);
  if (!(temperature >= 0)) throw new ModelError(`temperature must be 0 or more, got ${temperature}.`);
  if (!(topK >= 1)) throw new ModelError(`topK must be at least 1, got ${topK}.`);
  const { front_end: frontEnd, decoder } = model.contract;
  const size = frontEnd.vocabulary.length;
  const random = uniform(seed);
  const reader = new Reader(model);
  let { data } = readText(frontEnd, prompt);
  for (let count = 0; count < length; count++) {
    const logits = Float64Array.from((await reader.read(data)).subarray(-size));
    for (const id of decoder.never) logits[id] = -Infinity;
    const id = choose(logits, temperature, topK, random);
    yield frontEnd.vocabulary[id];
    data = BigInt64Array.of(BigInt(id));
  }
}

/** The id of the next character. */
export function choose(logits, temperature, topK, random) {
  const largest = logits.reduce((a, b) => Math.max(a, b));
  if (temperature === 0) return logits.indexOf(largest);
  const scaled = logits.map((logit) => (logit - largest) / temperature);
  if (topK < scaled.length) {
    const order = [...scaled.keys()].sort((a, b) => scaled[b] - scaled[a] || a - b);
    for (const id of order.slice(topK)) scaled[id] = -Infinity;
  }
  const probabilities = softmax(scaled);
  const target = random();
  let sum = 0;
  for (const [id, probability] of probabilities.entries()) {
    sum += probability;
    if (sum > target) return id;
  }
  return probabilities.findLastIndex((probability) => probability > 0);
}

/** Numbers from 0 to 1 (Mulberry32): the same from a seed in every language. */
export function uniform(seed) {
  let state = Number(BigInt.asUintN(32, BigInt(Math.trunc(seed))));
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Reads characters; carries the states, or reads all again where there are none. */
class Reader {
  #model;
  #stream;
  #states = {};
  #past = new BigInt64Array();

  constructor(model) {
    this.#model = model;
    this.#stream = model.streams ? model.stream() : null;
  }

  /** The logits after `ids`, given all that was read. */
  async read(ids) {
    const graph = this.#model.bundle.graph(this.#stream ? "stream" : "model");
    const carries = this.#stream || graph.states.length;
    if (!carries) ids = this.#past = lastOf([...this.#past, ...ids], graph.axes.sequence);
    const inputs = this.#model.inputs({ frames: ids.length, data: ids }, graph);
    const answers = this.#stream
      ? await this.#stream.push(inputs)
      : await this.#model.run({ ...inputs, ...this.#states });
    for (const pair of this.#stream ? [] : graph.states) {
      this.#states[pair.input] = answers[pair.output];
    }
    return answers[graph.outputs[0].name].data;
  }
}

/** As much of the past as the model was trained to read. */
function lastOf(ids, limits) {
  const most = Math.min(limits?.maximum ?? 256, limits?.trained_maximum ?? 256, 256);
  return BigInt64Array.from(ids.slice(-most));
}
