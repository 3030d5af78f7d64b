// A grey image, bright on dark: its rows are the time steps. The graph itself scales the values.
import { ModelError } from "./bundle.js";

/** `pixels`: brightness 0 to 255, row by row. */
export function readPixels(frontEnd, pixels, width, height) {
  if (width !== frontEnd.width || height !== frontEnd.height) {
    throw new ModelError(
      `image must be ${frontEnd.width} x ${frontEnd.height} pixels, got ${width} x ${height}.`,
    );
  }
  const data = Float32Array.from(pixels, (value) => (value / 255) * frontEnd.maximum);
  return { frames: height, data };
}

/** `rgba`: as a canvas gives it. Colours become their brightness, transparent parts black. */
export function readRgba(frontEnd, rgba, width, height) {
  const pixels = new Float32Array(width * height);
  for (let place = 0; place < pixels.length; place++) {
    const [red, green, blue, alpha] = rgba.subarray(4 * place, 4 * place + 4);
    pixels[place] = ((0.299 * red + 0.587 * green + 0.114 * blue) * alpha) / 255;
  }
  return readPixels(frontEnd, pixels, width, height);
}
