// Files -> the numbers that a front end of the contract stands for.
import { ModelError } from "./index.js";

// Blanks between numbers may hold comments.
const HEAD = /^(P[56])(?:\s|#[^\n]*\n)+(\d+)(?:\s|#[^\n]*\n)+(\d+)(?:\s|#[^\n]*\n)+255\s/;
const LONGEST_HEAD = 4096;

/**
 * A picture of 8 bits a value: grey (PGM, P5) or in colour (PPM, P6), whose colours then stand one
 * after the other. Frames of a clip are pictures one after the other in one file.
 */
export function readPictures({ kind, width, height, maximum }, content) {
  const [magic, colours] = kind === "picture" ? ["P6", 3] : ["P5", 1];
  const size = colours * width * height;
  const frames = [];
  for (let rest = content; rest.length; ) {
    const head = rest.toString("latin1", 0, LONGEST_HEAD).match(HEAD);
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
const EXTENSIBLE = 0xfffe;
const BITS = { [INTEGERS]: [8, 16, 24, 32], [FLOATS]: [32, 64] };
// What follows the format in the identifier that an extensible header has in its place.
const KNOWN = "000000001000800000aa00389b71";

/** A WAV file of integers or floats; several channels are mixed down to one. */
export function readSound({ rate }, content) {
  if (content.toString("latin1", 0, 4) !== "RIFF" || content.toString("latin1", 8, 12) !== "WAVE") {
    throw new ModelError("file must be a sound (WAV), it is not.");
  }
  let format;
  for (let place = 12; place + 8 <= content.length; ) {
    const name = content.toString("latin1", place, place + 4);
    const size = content.readUInt32LE(place + 4);
    const body = content.subarray(place + 8, place + 8 + size);
    if (name === "fmt " && body.length >= 16) format = readFormat(rate, body);
    if (name === "data" && format) return mixed(format, body);
    place += 8 + size + (size % 2);
  }
  throw new ModelError("sound must be whole, it is cut off.");
}

function readFormat(wanted, body) {
  const [kind, channels, bits] = [0, 2, 14].map((at) => body.readUInt16LE(at));
  const rate = body.readUInt32LE(4);
  const isKnown = kind === EXTENSIBLE && body.toString("hex", 26, 40) === KNOWN;
  const format = isKnown ? body.readUInt16LE(24) : kind;
  const width = Math.ceil(bits / 8);
  if (!BITS[format]?.includes(8 * width) || !channels) {
    throw new ModelError(
      `sound must be of integers or floats, got ${channels} channels of format ${format} of ${bits} bits.`,
    );
  }
  if (rate !== wanted) {
    throw new ModelError(`sound must have ${wanted} samples a second, got ${rate}. Resample it.`);
  }
  return { channels, width, isFloat: format === FLOATS };
}

function mixed({ channels, width, isFloat }, body) {
  const value = reader(width, isFloat, body);
  return Float32Array.from({ length: Math.floor(body.length / width / channels) }, (_, step) => {
    let sum = 0;
    for (let c = 0; c < channels; c++) sum += value((step * channels + c) * width);
    return sum / channels;
  });
}

function reader(width, isFloat, body) {
  if (isFloat) return (at) => (width === 4 ? body.readFloatLE(at) : body.readDoubleLE(at));
  // Of 8 bits, they have no sign.
  if (width === 1) return (at) => (body[at] - 128) / 128;
  return (at) => body.readIntLE(at, width) / 2 ** (8 * width - 1);
}
