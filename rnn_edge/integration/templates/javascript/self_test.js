// Replay the golden data: whole sequences through model.onnx, consecutive chunks through stream.onnx
// (single frames through step.onnx) with the states that this runtime gave, raw input through
// pipeline.onnx.
import { filled } from "./feed.js";
import { parseTensor } from "./tensor_file.js";

// An error may be four times what the exported module's own dtype lost, and a floor.
const FACTOR = 4;
const FLOOR = { float16: 1e-3, float32: 1e-6, float64: 1e-12 };
// What an answer of pipeline.onnx may be off, relative to the largest: exp and sums in float32.
const PIPELINE = 1e-5;
const HALF_EPSILON = { float16: 2 ** -11, float32: 2 ** -24, float64: 2 ** -53 };

/** One record an output of each golden set: {set, output, error, tolerance}. */
export async function selfTest(model) {
  const { parity } = model.bundle.evidence;
  const results = await replayWhole(model, "model", noises(parity));
  if (model.streams) results.push(...(await replayChunks(model)));
  if (model.bundle.graph("pipeline")) {
    results.push(...(await replayWhole(model, "pipeline", noises(parity), PIPELINE)));
  }
  return results;
}

async function replayWhole(model, name, noise, relative = 0) {
  const graph = model.bundle.graph(name);
  const results = [];
  for (const set of model.bundle.goldenSets(name === "model" ? "" : `${name}/`)) {
    const inputs = await readSide(model, set, "input", graph.inputs);
    const expected = await readSide(model, set, "output", graph.outputs);
    results.push(...compare(set, expected, await model.run(inputs, name), noise, relative));
  }
  return results;
}

/** The record with the largest error against its tolerance. */
export function worst(results) {
  return results.reduce((a, b) => (b.error / b.tolerance > a.error / a.tolerance ? b : a));
}

async function replayChunks(model) {
  const { bundle } = model;
  const graph = bundle.graph("stream");
  const { reset } = graph.stream;
  const stateInputs = graph.states.map((pair) => pair.input);
  const noise = noises(bundle.evidence.stream);
  const results = [];
  let stream;
  for (const set of bundle.goldenSets("stream/")) {
    const inputs = await readSide(model, set, "input", graph.inputs);
    const expected = await readSide(model, set, "output", graph.outputs);
    if (!stream) {
      stream = model.stream({ batch: rows(graph, inputs) });
      const fresh = reset !== null && inputs[reset].data.every(Boolean);
      if (!fresh && stateInputs.length) stream.resume(pick(inputs, stateInputs));
    }
    const found = await stream.push(pick(inputs, Object.keys(inputs), [...stateInputs, reset]));
    for (const pair of graph.states) found[pair.output] = stream.states[pair.input];
    results.push(...compare(set, expected, found, noise));
  }
  return results;
}

function pick(tensors, names, drop = []) {
  return Object.fromEntries(names.filter((n) => !drop.includes(n)).map((n) => [n, tensors[n]]));
}

function rows(graph, inputs) {
  const pair = graph.states.find(({ batch_axis }) => batch_axis !== null);
  if (pair) return inputs[pair.input].dims[pair.batch_axis];
  const { name, dims } = graph.inputs.find((spec) => spec.dims.includes("batch")) ?? { dims: [] };
  return name ? inputs[name].dims[dims.indexOf("batch")] : 1;
}

async function readSide(model, set, side, specs) {
  const tensors = {};
  for (const [place, spec] of specs.entries()) {
    const file = `${set}/${side}_${place}.pb`;
    const { name, dtype, dims, bytes, strings } = parseTensor(await model.bundle.read(file));
    if (name !== spec.name) throw new Error(`${file} must hold ${spec.name}, it holds ${name}`);
    const values = () => new (filled(dtype, 0).constructor)(bytes.buffer);
    tensors[name] = model.tensor(dtype, dtype === "string" ? strings : values(), dims);
  }
  return tensors;
}

function noises(report) {
  return Object.fromEntries((report?.outputs ?? []).map(({ name, noise }) => [name, noise]));
}

function compare(set, expected, found, noise, relative = 0) {
  return Object.entries(expected).map(([output, truth]) => {
    const answer = found[output];
    if (answer.type !== truth.type || answer.dims.join() !== truth.dims.join()) {
      return { set, output, error: Infinity, tolerance: FLOOR[truth.type] ?? 0.5 };
    }
    if (truth.type === "string") {
      const isRight = truth.data.every((text, place) => text === answer.data[place]);
      return { set, output, error: isRight ? 0 : Infinity, tolerance: 0.5 };
    }
    let error = 0;
    let largest = 0;
    truth.data.forEach((value, place) => {
      largest = Math.max(largest, Math.abs(Number(value)));
      const difference = Math.abs(Number(value) - Number(answer.data[place]));
      // Written so that NaN is an error.
      if (!(difference <= error)) error = Number.isNaN(difference) ? Infinity : difference;
    });
    if (!(truth.type in FLOOR)) return { set, output, error, tolerance: 0.5 };
    const lost = Math.max(noise[output] ?? 0, ...(output in noise ? [] : Object.values(noise)),
      HALF_EPSILON[truth.type] * largest);
    const tolerance = FACTOR * lost + FLOOR[truth.type] + relative * Math.max(1, largest);
    return { set, output, error, tolerance };
  });
}
