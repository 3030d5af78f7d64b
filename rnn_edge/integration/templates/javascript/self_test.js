// Replay the golden data: whole sequences through model.onnx, consecutive chunks through stream.onnx
// (single frames through step.onnx) with the states that this runtime gave.
import { filled } from "./feed.js";
import { parseTensor } from "./tensor_file.js";

// An error may be four times what the exported module's own dtype lost, and a floor.
const FACTOR = 4;
const FLOOR = { float16: 1e-3, float32: 1e-6, float64: 1e-12 };
const HALF_EPSILON = { float16: 2 ** -11, float32: 2 ** -24, float64: 2 ** -53 };

/** One record an output of each golden set: {set, output, error, tolerance}. */
export async function selfTest(model) {
  const results = [];
  const { bundle } = model;
  const graph = bundle.graph();
  for (const set of bundle.goldenSets()) {
    const inputs = await readSide(model, set, "input", graph.inputs);
    const expected = await readSide(model, set, "output", graph.outputs);
    const found = await model.run(inputs);
    results.push(...compare(set, expected, found, noises(bundle.evidence.parity)));
  }
  if (model.streams) results.push(...(await replayChunks(model)));
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
    const { name, dtype, dims, bytes } = parseTensor(await model.bundle.read(file));
    if (name !== spec.name) throw new Error(`${file} must hold ${spec.name}, it holds ${name}`);
    const ArrayType = filled(dtype, 0).constructor;
    tensors[name] = model.tensor(dtype, new ArrayType(bytes.buffer), dims);
  }
  return tensors;
}

function noises(report) {
  return Object.fromEntries((report?.outputs ?? []).map(({ name, noise }) => [name, noise]));
}

function compare(set, expected, found, noise) {
  return Object.entries(expected).map(([output, truth]) => {
    const answer = found[output];
    if (answer.type !== truth.type || answer.dims.join() !== truth.dims.join()) {
      return { set, output, error: Infinity, tolerance: FLOOR[truth.type] ?? 0.5 };
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
    return { set, output, error, tolerance: FACTOR * lost + FLOOR[truth.type] };
  });
}
