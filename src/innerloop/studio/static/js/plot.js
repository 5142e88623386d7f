/** Small line plots: lines with their spread, axes that say what they are. */

import { h, s } from "./dom.js";

const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP, ROOM] = [520, 240, 46, 40, 18, 96];

/**
 * A plot of lines `{name, class, points: [{x, y, low, high}], dashed}` whose y are between 0 and `top`.
 *
 * x are places in `ticks`, a list of texts; `said` is what a screen reader has in its stead.
 */
export function plot({ lines, ticks, top = 1, across, up, said, mark }) {
  const sheet = s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "plot", role: "img", "aria-label": said });
  const RIGHT = lines.some((line) => line.name) ? ROOM : 16;
  const at = (x) => LEFT + ((WIDTH - LEFT - RIGHT) * (ticks.length > 1 ? x / (ticks.length - 1) : 0.5));
  const on = (y) => HEIGHT - BOTTOM - ((HEIGHT - BOTTOM - TOP) * Math.min(1, Math.max(0, y / top)));
  for (const share of [0, 0.5, 1]) {
    const text = top === 1 ? `${100 * share} %` : (share * top).toPrecision(2);
    sheet.append(
      s("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: on(share * top), y2: on(share * top) }),
      s("text", { x: LEFT - 8, y: on(share * top) + 4, class: "end", text }),
    );
  }
  const every = Math.ceil(ticks.length / 12);
  ticks.forEach((text, place) => {
    if (place % every === 0 || place === ticks.length - 1) sheet.append(s("text", { x: at(place), y: HEIGHT - BOTTOM + 18, class: "middle", text }));
  });
  sheet.append(s("text", { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 4, class: "middle title", text: across }));
  sheet.append(s("text", { x: LEFT, y: TOP - 7, class: "title", text: up }));
  if (mark !== undefined) sheet.append(s("line", { class: "mark", x1: at(mark), x2: at(mark), y1: TOP, y2: HEIGHT - BOTTOM }));
  const ends = [];
  for (const line of lines) {
    const group = s("g", { class: line.class });
    const known = line.points.filter((one) => one.low !== undefined);
    for (const one of known) group.append(s("line", { class: "spread", x1: at(one.x), x2: at(one.x), y1: on(one.low), y2: on(one.high) }));
    group.append(s("polyline", { points: line.points.map((one) => `${at(one.x)},${on(one.y)}`).join(" "), class: line.dashed ? "dashed" : "" }));
    for (const one of line.points) group.append(s("circle", { cx: at(one.x), cy: on(one.y), r: 3.5 }));
    const last = line.points.at(-1);
    if (last && line.name) {
      let y = on(last.y) + 4;
      while (ends.some((other) => Math.abs(other - y) < 14)) y += 14;
      ends.push(y);
      group.append(s("text", { x: at(last.x) + 9, y, text: line.name }));
    }
    sheet.append(group);
  }
  return h("div", {}, sheet);
}
