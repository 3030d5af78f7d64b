// What a person has -> what a person reads, in one run of pipeline.onnx: front end and decoder are
// inside, and rows of any lengths need no padding.
import { ModelError } from "./bundle.js";
import { elements, filled } from "./feed.js";

/**
 * The answers for `rows`, in their order: texts, or arrays of numbers as the contract has them, each
 * a sound, a picture, the frames of a clip, row by row. An answer holds the outputs by name, those
 * with steps as arrays of so many.
 */
export async function answers(model, rows) {
  const outputs = await model.run(gather(model, rows), "pipeline");
  const counts = model.bundle.graph("pipeline").outputs.find((spec) => spec.lengths_of !== null);
  return rows.map((_, row) => answerOf(outputs, row, counts?.name));
}

/** The inputs of pipeline.onnx that hold `rows`, without its options and states. */
export function gather(model, rows) {
  if (!rows.length) throw new ModelError("rows must be at least 1, got none.");
  const [spec, sizes] = model.bundle.graph("pipeline").inputs;
  if (spec.dtype === "string") return { [spec.name]: model.tensor("string", rows, [rows.length]) };
  const parts = PARTS[spec.name] ? rows.map(PARTS[spec.name]) : rows;
  const own = spec.dims.slice(1);
  const width = elements(own.filter((dim) => typeof dim === "number"));
  const steps = parts.map((part) => part.length / width);
  if (!steps.every(Number.isInteger)) {
    throw new ModelError(`rows of ${spec.name} must hold ${width} numbers a step, they do not.`);
  }
  const values = filled(spec.dtype, parts.reduce((sum, { length }) => sum + length, 0));
  let place = 0;
  for (const part of parts) {
    values.set(part, place);
    place += part.length;
  }
  if (sizes?.splits) {
    return {
      [spec.name]: model.tensor(spec.dtype, values, [values.length / width, ...own]),
      [sizes.name]: model.tensor("int64", BigInt64Array.from(steps, BigInt), [steps.length]),
    };
  }
  const dims = own.map((dim) => (typeof dim === "number" ? dim : steps[0]));
  return { [spec.name]: model.tensor(spec.dtype, values, [rows.length, ...dims]) };
}

// A string's iterator gives code points, its indices do not.
const PARTS = {
  code_points: (text) => [...text].map((character) => character.codePointAt(0)),
  bytes: (text) => (typeof text === "string" ? new TextEncoder().encode(text) : text),
};

/** One row of `outputs`; that of the name `counts`, if any, says how many steps it has. */
function answerOf(outputs, row, counts) {
  const { [counts]: lengths, ...told } = outputs;
  const steps = lengths && Number(lengths.data[row]);
  return Object.fromEntries(Object.entries(told).map(([name, { data, dims }]) => {
    const [, ...own] = dims;
    const size = elements(own);
    const values = nested(Array.from(data.slice(row * size, (row + 1) * size)), own);
    return [name, own.length && lengths ? values.slice(0, steps) : values];
  }));
}

function nested(values, [size, ...rest]) {
  if (size === undefined) return values[0];
  const width = elements(rest);
  const parts = Array.from({ length: size }, (_, place) => values.slice(place * width, (place + 1) * width));
  return parts.map((part) => nested(part, rest));
}
