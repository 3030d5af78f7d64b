// What an app writes around pipeline.onnx, for Node and for a page alike: `ort` is the runtime.
// `calls`: {name: {model, feeds}}, each feed tensors by name, {type, dims, data}.
export async function answers(ort, calls) {
  const found = {};
  for (const [name, { model, feeds }] of Object.entries(calls)) {
    const session = await ort.InferenceSession.create(model, { executionProviders: ["cpu"] });
    found[name] = [];
    for (const feed of feeds) {
      const outputs = await session.run(mapped(feed, (tensor) => tensorOf(ort, tensor)));
      found[name].push(mapped(outputs, ({ type, dims, data }) => ({
        type, dims, data: Array.from(data, (value) => (typeof value === "bigint" ? Number(value) : value)),
      })));
    }
    await session.release();
  }
  return found;
}

const mapped = (object, change) =>
  Object.fromEntries(Object.entries(object).map(([name, value]) => [name, change(value)]));

const ARRAYS = { float32: Float32Array, int32: Int32Array };

function tensorOf(ort, { type, dims, data }) {
  if (type === "int64") return new ort.Tensor(type, BigInt64Array.from(data, BigInt), dims);
  return new ort.Tensor(type, type === "string" ? data : ARRAYS[type].from(data), dims);
}
