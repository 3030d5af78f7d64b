// Text -> ids, one a character: the place of the character in the vocabulary.
import { ModelError } from "./bundle.js";

export function readText(frontEnd, text) {
  // A string's iterator gives code points, as the vocabulary has them; its indices do not.
  const characters = [...text];
  if (!characters.length) throw new ModelError("text must hold at least one character, got none.");
  const ids = new Map(frontEnd.vocabulary.map((entry, id) => [entry, id]));
  return {
    frames: characters.length,
    data: BigInt64Array.from(characters, (c) => BigInt(ids.get(c) ?? frontEnd.unknown)),
  };
}
