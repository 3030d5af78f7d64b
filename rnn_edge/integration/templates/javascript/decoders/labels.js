// Logits on the last axis -> the likeliest label and the probability of each.
import { softmax } from "./softmax.js";

/** One answer for every `labels.length` numbers: one a step where there is time. */
export function decode(decoder, { data: numbers }) {
  const { labels } = decoder;
  const answers = [];
  for (let start = 0; start < numbers.length; start += labels.length) {
    const probabilities = softmax(numbers.subarray(start, start + labels.length));
    const best = probabilities.indexOf(Math.max(...probabilities));
    answers.push({
      label: labels[best],
      probability: probabilities[best],
      probabilities: Object.fromEntries(labels.map((label, place) => [label, probabilities[place]])),
    });
  }
  return answers;
}
