// Rows of numbers, as they are measured: the graph itself normalises them.
import { ModelError } from "./bundle.js";

/** A CSV text; with a header line the columns are found by name. */
export function readText(frontEnd, text) {
  const lines = text.split(/\r?\n/).filter((line) => line.trim());
  const rows = lines.map((line) => line.split(/[,;\t]/).map((field) => field.trim()));
  if (!rows.length) throw new ModelError("text must hold rows of numbers, it is blank.");
  const { columns } = frontEnd;
  const hasHeader = rows[0].some((field) => Number.isNaN(parseNumber(field)));
  const places = columnPlaces(columns, hasHeader ? rows.shift() : null, rows[0]?.length ?? 0);
  if (!rows.length) throw new ModelError("text must hold rows under its header, it has none.");
  const data = new Float32Array(rows.length * columns.length);
  rows.forEach((row, line) => {
    places.forEach((place, column) => {
      const value = parseNumber(row[place] ?? "");
      if (!Number.isFinite(Math.fround(value))) {
        throw new ModelError(
          `row ${line + 1}, field ${place + 1} must be a number, got ${JSON.stringify(row[place] ?? "")}.`,
        );
      }
      data[line * columns.length + column] = value;
    });
  });
  return { frames: rows.length, data };
}

const parseNumber = (field) => (field === "" ? NaN : Number(field));

function columnPlaces(columns, header, width) {
  if (header) {
    const places = columns.map((column) => header.indexOf(column));
    if (!places.includes(-1)) return places;
    if (header.length === 1 && columns.length === 1) return [0];
    throw new ModelError(`columns must include ${columns.join(", ")}, got ${header.join(", ")}.`);
  }
  if (width !== columns.length) {
    throw new ModelError(`rows must have ${columns.length} numbers (${columns.join(", ")}), got ${width}.`);
  }
  return columns.map((_, place) => place);
}
