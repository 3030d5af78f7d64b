// Lines over the number of the step, on a canvas.

const COLOURS = ["#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377"];

/** `lines`: {label, values, first}, where `first` is the step of the first value. */
export function plot(canvas, lines) {
  const context = canvas.getContext("2d");
  const { width, height } = canvas;
  const values = lines.flatMap((line) => line.values);
  const low = Math.min(...values);
  const high = Math.max(...values);
  const steps = Math.max(1, ...lines.map(({ first = 0, values: { length } }) => first + length - 1));
  const x = (step) => 45 + ((width - 60) * step) / steps;
  const y = (value) => height - 20 - ((height - 50) * (value - low)) / (high - low || 1);
  context.clearRect(0, 0, width, height);
  context.font = "13px system-ui, sans-serif";
  context.fillStyle = "#888";
  context.fillText(high.toPrecision(3), 2, y(high) + 4);
  if (high > low) context.fillText(low.toPrecision(3), 2, y(low) + 4);
  lines.forEach(({ label, values: numbers, first = 0 }, place) => {
    context.strokeStyle = context.fillStyle = COLOURS[place % COLOURS.length];
    context.lineWidth = 2;
    context.fillText(label, 45 + 110 * place, 16);
    context.beginPath();
    numbers.forEach((value, step) => context.lineTo(x(first + step), y(value)));
    context.stroke();
    if (numbers.length === 1) context.fillRect(x(first) - 3, y(numbers[0]) - 3, 6, 6);
  });
}
