// The model as a module of the browser: `const model = await load(); await model.run({...})`.
import * as ort from "onnxruntime-web";
import { Model, ModelError } from "./lib/model.js";

export { ModelError };

// One thread needs no special headers of the server.
ort.env.wasm.numThreads = 1;

/** Load the bundle at `place`; every file that is read is checked against its SHA-256. */
export async function load(place = new URL("bundle/", import.meta.url)) {
  return Model.load(ort, async (name) => {
    const response = await fetch(new URL(name, place));
    if (!response.ok) throw new ModelError(`${name} must be there, got: ${response.status}.`);
    return new Uint8Array(await response.arrayBuffer());
  });
}
