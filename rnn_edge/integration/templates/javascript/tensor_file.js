// ONNX's TensorProto (input_0.pb), as far as golden data need it: dims, data_type, name,
// raw_data, and string_data.

const DTYPES = {
  1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 8: "string", 9: "bool",
  10: "float16", 11: "float64", 12: "uint32", 13: "uint64",
};
const DIMS = 1, DATA_TYPE = 2, STRINGS = 6, NAME = 8, RAW_DATA = 9;

/** {name, dtype, dims, bytes, strings} of a file's content. */
export function parseTensor(content) {
  const found = { name: "", dtype: undefined, dims: [], bytes: new Uint8Array(), strings: [] };
  const reader = new Reader(content);
  while (!reader.done) {
    const key = reader.varint();
    const value = (key & 7) === 2 ? reader.bytes(reader.varint()) : reader.varint();
    const field = key >> 3;
    if (field === DIMS) found.dims.push(...(typeof value === "number" ? [value] : packed(value)));
    else if (field === DATA_TYPE) found.dtype = DTYPES[value];
    else if (field === NAME) found.name = new TextDecoder().decode(value);
    else if (field === STRINGS) found.strings.push(new TextDecoder().decode(value));
    else if (field === RAW_DATA) found.bytes = value;
  }
  if (!found.dtype) throw new Error(`${found.name} must hold numbers, booleans or texts, it does not`);
  return found;
}

class Reader {
  #content;
  #place = 0;

  constructor(content) {
    this.#content = content;
  }

  get done() {
    return this.#place >= this.#content.length;
  }

  varint() {
    let number = 0;
    for (let scale = 1; ; scale *= 128) {
      if (this.done) throw new Error("tensor file is cut off");
      const byte = this.#content[this.#place++];
      number += (byte & 0x7f) * scale;
      if (byte < 0x80) return number;
    }
  }

  bytes(length) {
    if (this.#place + length > this.#content.length) throw new Error("tensor file is cut off");
    // A copy of its own starts where typed arrays may start; Buffer.slice would give a view.
    return new Uint8Array(this.#content.subarray(this.#place, (this.#place += length)));
  }
}

function packed(bytes) {
  const reader = new Reader(bytes);
  const numbers = [];
  while (!reader.done) numbers.push(reader.varint());
  return numbers;
}
