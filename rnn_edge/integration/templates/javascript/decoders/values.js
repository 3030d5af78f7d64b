// Numbers in the units of their columns.

/** One answer for every `columns.length` numbers: one a step where there is time. */
export function decode(decoder, { data: numbers }) {
  const { columns } = decoder;
  const answers = [];
  for (let start = 0; start < numbers.length; start += columns.length) {
    answers.push(Object.fromEntries(columns.map((name, place) => [name, numbers[start + place]])));
  }
  return answers;
}
