// What a caller gives -> what the graph is fed. ONNX Runtime ends the process on an empty batch or
// sequence, and its LSTM and GRU make numbers of NaN: everything is checked here, before the run.
import { ModelError } from "./bundle.js";

const ARRAYS = {
  float64: Float64Array, float32: Float32Array, float16: globalThis.Float16Array ?? Uint16Array,
  int64: BigInt64Array, uint64: BigUint64Array, int32: Int32Array, uint32: Uint32Array,
  int16: Int16Array, uint16: Uint16Array, int8: Int8Array, uint8: Uint8Array, bool: Uint8Array,
};

/** A typed array for `dtype`, filled with `value`. */
export function filled(dtype, size, value = 0) {
  const big = dtype === "int64" || dtype === "uint64";
  return new ARRAYS[dtype](size).fill(big ? BigInt(value) : Number(value));
}

/** Every element of a shape, or the number of them. */
export const elements = (dims) => dims.reduce((product, size) => product * size, 1);

/**
 * Throws ModelError unless `tensors` (by name) fit `specs`; gives the sizes of the named axes.
 * `sizes` holds the axes that are known already.
 */
export function check(specs, axes, tensors, sizes = {}) {
  const names = specs.map((spec) => spec.name);
  const unknown = Object.keys(tensors).filter((name) => !names.includes(name));
  if (unknown.length) {
    throw new ModelError(`inputs must be ${names.join(", ")}, got unknown ${unknown.join(", ")}.`);
  }
  const known = { ...sizes };
  const split = specs.map((spec) => spec.splits);
  for (const spec of specs) checkShape(spec, axes, tensors[spec.name], known, split);
  for (const spec of specs) checkValues(spec, tensors[spec.name], known);
  return known;
}

function checkShape(spec, axes, tensor, sizes, split) {
  if (!tensor) throw new ModelError(`input ${spec.name} must be given, it is missing.`);
  if (tensor.type !== spec.dtype) {
    throw new ModelError(`dtype of ${spec.name} must be ${spec.dtype}, got ${tensor.type}.`);
  }
  if (tensor.dims.length !== spec.dims.length) {
    throw new ModelError(
      `shape of ${spec.name} must be [${spec.dims.join(", ")}], got [${tensor.dims.join(", ")}].`,
    );
  }
  spec.dims.forEach((dim, place) => {
    const size = tensor.dims[place];
    if (typeof dim === "number") {
      if (size !== dim) {
        throw new ModelError(`axis ${place} of ${spec.name} must have size ${dim}, got ${size}.`);
      }
      return;
    }
    // A graph that takes its rows one after the other makes rows of its own: all may be empty.
    const floor = split.includes(dim) ? 0 : 1;
    const { minimum = floor, maximum = null } = axes[dim] ?? {};
    const least = Math.max(minimum, floor);
    if (size < least) {
      throw new ModelError(`axis ${dim} of ${spec.name} must be at least ${least}, got ${size}.`);
    }
    if (maximum !== null && size > maximum) {
      throw new ModelError(`axis ${dim} of ${spec.name} must be at most ${maximum}, got ${size}.`);
    }
    sizes[dim] ??= size;
    if (sizes[dim] !== size) {
      throw new ModelError(`axis ${dim} of ${spec.name} must have size ${sizes[dim]}, got ${size}.`);
    }
  });
}

function checkValues(spec, tensor, sizes) {
  if (spec.dtype === "string" && tensor.data.some((text) => text.includes("\0"))) {
    // ONNX Runtime would be given what stands before it.
    throw new ModelError(`${spec.name} must hold no U+0000, it does.`);
  }
  if (spec.dtype === "string" || spec.dtype === "bool") return;
  if (spec.splits !== null) {
    const sum = tensor.data.reduce((total, size) => total + Number(size), 0);
    if (sum !== sizes[spec.splits]) {
      throw new ModelError(
        `${spec.name} must add up to the ${sizes[spec.splits]} ${spec.splits}, they add up to ${sum}.`,
      );
    }
  }
  const half = tensor.data instanceof Uint16Array && spec.dtype === "float16";
  let least = spec.minimum ?? -Infinity;
  let most = spec.maximum ?? Infinity;
  if (spec.lengths_of !== null) {
    least = Math.max(least, 1);
    most = Math.min(most, sizes[spec.lengths_of] ?? Infinity);
  }
  tensor.data.forEach((raw, place) => {
    if (half) {
      // The exponent's five bits are all set in infinities and NaN.
      if ((raw & 0x7c00) === 0x7c00) throw new ModelError(`${spec.name}[${place}] must be finite.`);
      return;
    }
    const value = Number(raw);
    if (!Number.isFinite(value)) {
      throw new ModelError(`${spec.name}[${place}] must be finite, got ${value}. Fill the gaps.`);
    }
    if (value < least || value > most) {
      const must = value < least ? `at least ${least}` : `at most ${most}`;
      throw new ModelError(`${spec.name}[${place}] must be ${must}, got ${value}.`);
    }
  });
}

/** The initial value of a state, as (dtype, data, dims). */
export function initialState(graph, pair, sizes) {
  const spec = graph.inputs.find(({ name }) => name === pair.input);
  const dims = spec.dims.map((dim) => (typeof dim === "number" ? dim : sizes[dim]));
  if (dims.includes(undefined)) {
    throw new ModelError(`state ${spec.name} must be given, the size of an axis is not known.`);
  }
  return [spec.dtype, filled(spec.dtype, elements(dims), pair.initial), dims];
}
