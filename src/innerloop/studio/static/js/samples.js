/** Something to begin with: a few examples of each kind, made here. */

import { add } from "./actions.js";
import { pictured } from "./draw.js";
import { now, state } from "./state.js";

/** Strokes of a few signs, in steps of a tenth. */
const SIGNS = {
  "✓": [[[2, 5], [4, 8], [8, 2]]],
  "△": [[[5, 2], [8, 8], [2, 8], [5, 2]]],
  "卄": [[[1, 4], [9, 4]], [[3, 2], [3, 9]], [[7, 2], [7, 9]]],
};
const WORDS = [
  ["refund", "I was charged twice for my order"], ["refund", "please give me my money back"], ["refund", "the amount on my bill is wrong"],
  ["delivery", "where is my parcel"], ["delivery", "the package has not arrived yet"], ["delivery", "when will you ship it"],
  ["password", "I cannot log in any more"], ["password", "my password does not work"], ["password", "how do I reset my account"],
];
const FRUIT = [
  ["apple", 152, 7.1, "red"], ["apple", 168, 7.6, "green"], ["apple", 160, 7.4, "red"], ["lemon", 112, 6.0, "yellow"], ["lemon", 98, 5.6, "yellow"],
  ["lemon", 120, 6.3, "yellow"], ["plum", 45, 4.1, "violet"], ["plum", 52, 4.4, "violet"], ["plum", 39, 3.9, "red"],
];

/** A stroke with points between its corners, which stay sharp. */
const dense = (stroke) =>
  stroke.flatMap(([x, y], place) => {
    const [u, v] = stroke[place + 1] ?? [x, y];
    const steps = place + 1 < stroke.length ? 8 : 1;
    return Array.from({ length: steps }, (_, step) => [x + ((u - x) * step) / steps, y + ((v - y) * step) / steps]);
  });

/** The same sign by a hand that is never quite the same. */
function written(strokes, turn) {
  const tilt = [0.1, -0.12, 0.04][turn % 3];
  const size = [0.92, 0.8, 1][turn % 3];
  return strokes.map((stroke) =>
    dense(stroke).map(([x, y], place) => {
      const wave = 0.012 * Math.sin(0.7 * place + 2 * turn);
      const [u, v] = [(x / 10 - 0.5) * size, (y / 10 - 0.5) * size];
      return [0.5 + u * Math.cos(tilt) - v * Math.sin(tilt) + wave, 0.5 + u * Math.sin(tilt) + v * Math.cos(tilt) - wave];
    }),
  );
}

async function found() {
  if (state.kind === "text") return WORDS.map(([label, value]) => ({ label, value }));
  if (state.kind === "rows") return FRUIT.map(([label, grams, centimeters, color]) => ({ label, value: { grams, centimeters, color } }));
  const made = [];
  for (const [label, strokes] of Object.entries(SIGNS)) {
    for (let turn = 0; turn < 3; turn++) {
      const value = await pictured(written(strokes, turn));
      made.push({ label, value });
    }
  }
  return made;
}

/** Begin with examples that are made here. */
export async function sampled() {
  const examples = await found();
  if (now().examples.length === 0) now().order = [];
  await add(examples);
}
