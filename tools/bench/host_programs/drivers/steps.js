// Steps of a stream with zeros: `await steps(stream, count)` gives microseconds each.
export function zeros(model, stream) {
  return Object.fromEntries(
    stream.chunkInputs.map(({ name, dtype, dims }) => {
      const shape = dims.map((dim) => (typeof dim === "number" ? dim : 1));
      const size = shape.reduce((product, dim) => product * dim, 1);
      const data = dtype === "int64" ? new BigInt64Array(size) : new Float32Array(size);
      return [name, model.tensor(dtype, data, shape)];
    }),
  );
}

export async function steps(stream, frame, count) {
  const start = performance.now();
  for (let step = 0; step < count; step++) await stream.push(frame);
  return ((performance.now() - start) * 1e3) / count;
}
