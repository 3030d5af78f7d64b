// Files -> the numbers that a front end of the contract stands for.
import { ModelError } from "./index.js";

/**
 * A picture of 8 bits a value: grey (PGM, P5) or in colour (PPM, P6), whose colours then stand one
 * after the other. Frames of a clip are pictures one after the other in one file.
 */
export function readPictures({ kind, width, height, maximum }, content) {
  const [magic, colours] = kind === "picture" ? ["P6", 3] : ["P5", 1];
  const size = colours * width * height;
  const frames = [];
  for (let rest = content; rest.length; ) {
    const head = rest.toString("latin1", 0, 100).match(/^(P[56])\s+(\d+)\s+(\d+)\s+255\s/);
    if (head?.[1] !== magic) throw new ModelError(`file must be a picture (${magic}, 255), it is not.`);
    if (Number(head[2]) !== width || Number(head[3]) !== height) {
      throw new ModelError(`picture must be ${width} x ${height} pixels, got ${head[2]} x ${head[3]}.`);
    }
    const pixels = rest.subarray(head[0].length, head[0].length + size);
    if (pixels.length !== size) throw new ModelError("picture must be whole, it is cut off.");
    for (let colour = 0; colour < colours; colour++) {
      frames.push(pixels.filter((_, place) => place % colours === colour));
    }
    rest = rest.subarray(head[0].length + size);
  }
  if (!frames.length || (kind !== "clip" && frames.length !== colours)) {
    throw new ModelError(`file must hold ${kind === "clip" ? "pictures" : "one picture"}, it does not.`);
  }
  return Float32Array.from(Buffer.concat(frames), (value) => (value / 255) * maximum);
}

const INTEGERS = 1;
const FLOATS = 3;

/** A WAV file of 16-bit integers or 32-bit floats; several channels are mixed down to one. */
export function readSound({ rate }, content) {
  if (content.toString("latin1", 0, 4) !== "RIFF" || content.toString("latin1", 8, 12) !== "WAVE") {
    throw new ModelError("file must be a sound (WAV), it is not.");
  }
  let format;
  for (let place = 12; place + 8 <= content.length; ) {
    const name = content.toString("latin1", place, place + 4);
    const size = content.readUInt32LE(place + 4);
    const body = content.subarray(place + 8, place + 8 + size);
    if (name === "fmt " && size >= 16) {
      format = [0, 2, 14].map((at) => body.readUInt16LE(at));
      if (body.readUInt32LE(4) !== rate) {
        throw new ModelError(`sound must have ${rate} samples a second, got ${body.readUInt32LE(4)}.`);
      }
    }
    if (name === "data" && format) return mixed(format, body);
    place += 8 + size + (size % 2);
  }
  throw new ModelError("sound must be whole, it is cut off.");
}

function mixed([format, channels, bits], body) {
  const isFloat = format === FLOATS && bits === 32;
  if (!isFloat && !(format === INTEGERS && bits === 16)) {
    throw new ModelError(`sound must be of 16-bit integers or floats, got format ${format} of ${bits} bits.`);
  }
  const width = bits / 8;
  const value = (at) => (isFloat ? body.readFloatLE(at) : body.readInt16LE(at) / 32768);
  return Float32Array.from({ length: Math.floor(body.length / width / channels) }, (_, step) => {
    let sum = 0;
    for (let c = 0; c < channels; c++) sum += value((step * channels + c) * width);
    return sum / channels;
  });
}
