// A bundle's graphs behind two classes: Model runs whole sequences, Stream takes them in chunks.
import { Bundle, ModelError } from "./bundle.js";
import { check, elements, filled, initialState } from "./feed.js";

export { ModelError };

export class Model {
  #ort;
  #sessions;

  constructor(ort, bundle, sessions) {
    this.#ort = ort;
    this.#sessions = sessions;
    this.bundle = bundle;
    this.contract = bundle.contract;
  }

  /**
   * `ort` is the module onnxruntime-node or onnxruntime-web; `readFile(name)` resolves to the bytes
   * of a file of the bundle.
   */
  static async load(ort, readFile, options = {}) {
    const bundle = await Bundle.open(readFile);
    const sessions = {};
    for (const [name, graph] of Object.entries(bundle.contract.graphs)) {
      // The pipeline holds that loop, with texts around it.
      if (name === "generate" && "pipeline" in bundle.contract.graphs) continue;
      const bytes = await bundle.read(graph.file);
      sessions[name] = await ort.InferenceSession.create(bytes, { intraOpNumThreads: 1, ...options });
      checkAgreement(graph, sessions[name]);
    }
    return new Model(ort, bundle, sessions);
  }

  get streams() {
    return "stream" in this.#sessions;
  }

  /** A tensor for `run` and `push`: `tensor("float32", data, [1, 20, 1])`. */
  tensor(dtype, data, dims) {
    return new this.#ort.Tensor(dtype, data, dims);
  }

  /**
   * Whole sequences: tensors by name in, tensors by name out. States and options may be left out.
   * `name` is that of another graph that takes whole sequences.
   */
  async run(inputs, name = "model") {
    const graph = this.bundle.graph(name);
    if (!(name in this.#sessions)) throw new ModelError(`graph must be one of the bundle, got ${name}.`);
    const left = graph.states.filter((pair) => !(pair.input in inputs));
    const leftOut = new Set(left.map((pair) => pair.input));
    const feed = { ...inputs };
    for (const spec of graph.inputs) {
      if (spec.default === null || spec.dims.length || spec.name in feed) continue;
      feed[spec.name] = this.tensor(spec.dtype, filled(spec.dtype, 1, spec.default), []);
    }
    const specs = graph.inputs.filter((spec) => !leftOut.has(spec.name));
    const sizes = check(specs, graph.axes, feed);
    for (const pair of left) feed[pair.input] = this.tensor(...initialState(graph, pair, sizes));
    return this.#sessions[name].run(feed);
  }

  /**
   * The tensors for one sequence, as a front end gives it: {dtype, frames, data}. Lengths are filled
   * in; `graph` is the contract of the graph that they are for.
   */
  inputs({ frames, data }, graph = this.bundle.graph()) {
    const skipped = new Set([...graph.states.map((pair) => pair.input), graph.stream?.reset]);
    const given = graph.inputs.filter(({ name }) => !skipped.has(name));
    const lengths = given.find((spec) => spec.lengths_of !== null);
    const axis = lengths?.lengths_of ?? graph.stream?.axis ?? "sequence";
    return Object.fromEntries(
      given.map((spec) => {
        const dims = spec.dims.map((dim) => (dim === axis ? frames : typeof dim === "number" ? dim : 1));
        const values = filled(spec.dtype, elements(dims), frames);
        if (spec !== lengths) values.set(matching(data, values, spec));
        return [spec.name, this.tensor(spec.dtype, values, dims)];
      }),
    );
  }

  /** Free what the sessions hold. */
  async release() {
    await Promise.all(Object.values(this.#sessions).map((session) => session.release()));
  }

  /** A stream of `batch` rows side by side, at its start. */
  stream({ batch = 1 } = {}) {
    if (!this.streams) {
      throw new ModelError("model must have a stream graph to take chunks, it looks ahead. Use run().");
    }
    const { stream, step } = this.bundle.contract.graphs;
    return new Stream(this.#ort, stream, this.#sessions, batch, step);
  }
}

export class Stream {
  #ort;
  #graph;
  #sessions;
  #step;
  #chunk;
  #context;
  #outputs;
  #held = {};
  #states = null;
  #turn = Promise.resolve();

  constructor(ort, graph, sessions, batch, step) {
    if (!Number.isInteger(batch) || batch < 1) {
      throw new ModelError(`batch must be a whole number of at least 1, got ${batch}.`);
    }
    this.#ort = ort;
    this.#graph = graph;
    this.#sessions = sessions;
    this.#step = step;
    this.batch = batch;
    const { axis, reset } = graph.stream;
    const states = new Set(graph.states.map((pair) => pair.input));
    const given = graph.inputs.filter(({ name }) => !states.has(name) && name !== reset);
    this.#chunk = given.filter(({ dims }) => dims.includes(axis));
    this.#context = given.filter(({ dims }) => !dims.includes(axis));
    const results = new Set(graph.states.map((pair) => pair.output));
    this.#outputs = graph.outputs.map(({ name }) => name).filter((name) => !results.has(name));
  }

  /** The inputs that hold the next frames. */
  get chunkInputs() {
    return this.#chunk;
  }

  /**
   * The answers for the next frames: tensors by name in, tensors by name out. Inputs without the
   * axis of time are given with the first chunk. Pushes that overlap are run in their order.
   */
  push(chunk) {
    const answer = this.#turn.then(() => this.#push(chunk));
    this.#turn = answer.catch(() => {});
    return answer;
  }

  /** The states after the last chunk, by input name; null at the start of a sequence. */
  get states() {
    return this.#states;
  }

  /** Go on from states that a stream of this model had, here or elsewhere. */
  resume(states) {
    const specs = this.#graph.inputs.filter(({ name }) => this.#graph.states.some((p) => p.input === name));
    check(specs, this.#graph.axes, states);
    this.#states = { ...states };
  }

  /** The next chunk begins a new sequence. */
  reset() {
    this.#turn = this.#turn.then(() => {
      this.#states = null;
    });
  }

  async #push(chunk) {
    const graph = this.#graph;
    const { reset } = graph.stream;
    const inputs = { ...this.#held, ...chunk };
    const specs = [...this.#chunk, ...this.#context];
    const batchAxis = this.#batchAxis();
    const sizes = check(specs, graph.axes, inputs, batchAxis ? { [batchAxis]: this.batch } : {});
    const fresh = this.#states === null;
    const states = this.#states ?? this.#initialStates(sizes);
    const feed = { ...inputs, ...states };
    if (reset !== null) {
      feed[reset] = new this.#ort.Tensor("bool", filled("bool", this.batch, fresh), [this.batch]);
    }
    const session = takes(this.#step, feed) ? this.#sessions.step : this.#sessions.stream;
    const answers = await session.run(feed);
    // The tensors that came out go in with the next chunk as they are: nothing is copied.
    this.#states = Object.fromEntries(graph.states.map((p) => [p.input, answers[p.output]]));
    for (const { name } of this.#context) this.#held[name] = inputs[name];
    return Object.fromEntries(this.#outputs.map((name) => [name, answers[name]]));
  }

  #batchAxis() {
    const pair = this.#graph.states.find(({ batch_axis }) => batch_axis !== null);
    const state = pair && this.#graph.inputs.find(({ name }) => name === pair.input);
    const axis = state ? state.dims[pair.batch_axis] : "batch";
    return typeof axis === "string" ? axis : null;
  }

  #initialStates(sizes) {
    return Object.fromEntries(
      this.#graph.states.map((pair) => [
        pair.input,
        new this.#ort.Tensor(...initialState(this.#graph, pair, sizes)),
      ]),
    );
  }
}

/** Whether the graph for single frames takes these tensors: it may have fixed the batch too. */
function takes(step, feed) {
  return step?.inputs.every(({ name, dims }) =>
    dims.every((dim, place) => typeof dim === "string" || dim === feed[name].dims[place]),
  );
}

function matching(data, values, spec) {
  if (data.length !== values.length) {
    throw new ModelError(
      `${spec.name} must hold ${values.length} values for these frames, got ${data.length}.`,
    );
  }
  const isBig = values instanceof BigInt64Array || values instanceof BigUint64Array;
  if (isBig === data instanceof BigInt64Array) return data;
  return Array.from(data, isBig ? BigInt : Number);
}

function checkAgreement(graph, session) {
  for (const [what, specs, names, metadata] of [
    ["inputs", graph.inputs, session.inputNames, session.inputMetadata],
    ["outputs", graph.outputs, session.outputNames, session.outputMetadata],
  ]) {
    const declared = specs.map(({ name, dtype, dims }) => `${name}: ${dtype} of ${dims.length} axes`);
    const found = names.map((name, place) => {
      const { type, shape } = metadata[place];
      return `${name}: ${type} of ${shape.length} axes`;
    });
    if (declared.join() !== found.join()) {
      throw new ModelError(
        `${what} of ${graph.file} must be those of bundle.json, ${declared.join(", ")}; ` +
          `got ${found.join(", ")}. Export the model again.`,
      );
    }
  }
}
