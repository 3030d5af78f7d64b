// What an app writes around pipeline.onnx, for Node and for a page alike: `ort` is the runtime.
export async function answers(ort, models, texts, options) {
  const found = {};
  for (const [name, model] of Object.entries(models)) {
    const session = await ort.InferenceSession.create(model, { executionProviders: ["cpu"] });
    const feed = {};
    const long = (...n) => new ort.Tensor("int64", BigInt64Array.from(n, BigInt), [n.length]);
    if (session.inputNames.includes("code_points")) {
      const points = texts.map((text) => [...text].map((c) => c.codePointAt(0)));
      feed.code_points = new ort.Tensor("int32", Int32Array.from(points.flat()), [points.flat().length]);
      feed.lengths = long(...points.map((row) => row.length));
    } else {
      feed[session.inputNames[0]] = new ort.Tensor("string", texts, [texts.length]);
    }
    if (session.inputNames.includes("seed")) {
      const { max_new, top_k, temperature, states } = options;
      const scalar = (n) => new ort.Tensor("int64", BigInt64Array.of(BigInt(n)), []);
      const float = (n) => new ort.Tensor("float32", Float32Array.of(n), []);
      Object.assign(feed, {
        max_new: scalar(max_new), top_k: scalar(top_k), end: scalar(-1),
        temperature: float(temperature), top_p: float(1), seed: long(...texts.map((_, row) => row)),
      });
      for (const [state, dims] of Object.entries(states)) {
        const size = dims.reduce((a, b) => a * b, 1);
        feed[state] = new ort.Tensor("float32", new Float32Array(size), dims);
      }
    }
    const output = await session.run(feed);
    const [first] = session.outputNames;
    const numbers = output.probabilities ?? output.log_probabilities;
    found[name] = { words: [...output[first].data], numbers: [...numbers.data] };
  }
  return found;
}
