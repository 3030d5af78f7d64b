// A Node stream of frames -> a stream of answers: `source.pipe(new ModelTransform(model))`.
import { Transform } from "node:stream";

/**
 * Takes typed arrays (or arrays) of one or more whole frames, or an object of tensors by name where
 * a chunk has several; gives the outputs as tensors by name. The states are carried.
 */
export class ModelTransform extends Transform {
  #model;
  #stream;
  #frame;

  constructor(model, options = {}) {
    super({ ...options, objectMode: true });
    this.#model = model;
    this.#stream = model.stream();
    const [{ dims }] = this.#stream.chunkInputs;
    this.#frame = dims.reduce((size, dim) => (typeof dim === "number" ? size * dim : size), 1);
  }

  reset() {
    this.#stream.reset();
  }

  _transform(chunk, _encoding, done) {
    this.#push(chunk).then((answers) => done(null, answers), done);
  }

  async #push(chunk) {
    if (typeof chunk.length !== "number") return this.#stream.push(chunk);
    const graph = this.#model.bundle.graph("stream");
    const frames = Math.floor(chunk.length / this.#frame);
    return this.#stream.push(this.#model.inputs({ frames, data: chunk }, graph));
  }
}
