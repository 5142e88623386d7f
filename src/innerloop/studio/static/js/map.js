/** Examples and query in the plane, by the head's own distances. It turns as little as it can when something changes. */

import { $, h, later, put, s } from "./dom.js";
import { show } from "./example.js";
import { t } from "./i18n.js";
import { inWords, KINDS } from "./kinds.js";
import { colorOf, labelOf, now, on, pictureOf, state, suspects, valueOf } from "./state.js";

const [HEIGHT, EDGE, SIDE] = [290, 34, 34];
/** As wide as its panel, so that pictures have the same size on a desk and on a phone. */
let width = 600;
let nodes = new Map();
let links = s("g");
let drawn = null;

/** Turn or mirror points so that those that were there before lie as near to their old places as they can. */
function aligned(points, before) {
  const shared = points.filter((one) => before.has(one.example));
  if (shared.length < 2) return points;
  const mean = (list) => list.reduce(([a, b], [x, y]) => [a + x / list.length, b + y / list.length], [0, 0]);
  const [px, py] = mean(shared.map((one) => [one.x, one.y]));
  const [qx, qy] = mean(shared.map((one) => before.get(one.example)));
  let [dot, cross, mirroredDot, mirroredCross] = [0, 0, 0, 0];
  for (const one of shared) {
    const [x, y] = [one.x - px, one.y - py];
    const [u, v] = before.get(one.example).map((value, axis) => value - [qx, qy][axis]);
    dot += x * u + y * v;
    cross += x * v - y * u;
    mirroredDot += x * u - y * v;
    mirroredCross += x * v + y * u;
  }
  const mirror = Math.hypot(mirroredDot, mirroredCross) > Math.hypot(dot, cross) + 1e-12 ? -1 : 1;
  const angle = mirror < 0 ? Math.atan2(mirroredCross, mirroredDot) : Math.atan2(cross, dot);
  const [c, d] = [Math.cos(angle), Math.sin(angle)];
  return points.map((one) => ({ ...one, x: c * one.x - d * mirror * one.y, y: d * one.x + c * mirror * one.y }));
}

/** From the plane to the panel, with one scale for both directions. */
function fitted(points) {
  const spread = (axis) => [Math.min(...points.map((one) => one[axis])), Math.max(...points.map((one) => one[axis]))];
  const [[left, right], [low, high]] = [spread("x"), spread("y")];
  const scale = Math.min((width - 2 * EDGE) / Math.max(right - left, 1e-9), (HEIGHT - 2 * EDGE) / Math.max(high - low, 1e-9));
  return ({ x, y }) => [width / 2 + scale * (x - (left + right) / 2), HEIGHT / 2 - scale * (y - (low + high) / 2)];
}

function spot(id) {
  const { pictures } = KINDS[state.kind];
  const node = s("g", { class: "spot", tabindex: 0, role: "button", "data-example": id });
  if (pictures) {
    const image = s("image", { x: -SIDE / 2 + 2, y: -SIDE / 2 + 2, width: SIDE - 4, height: SIDE - 4, preserveAspectRatio: "xMidYMid slice", class: state.kind === "drawings" ? "drawn" : "" });
    pictureOf(id).then((address) => image.setAttribute("href", address), () => {});
    node.append(s("rect", { x: -SIDE / 2, y: -SIDE / 2, width: SIDE, height: SIDE, rx: 8 }), image);
  } else {
    const title = s("title");
    valueOf(id).then((value) => (title.textContent = inWords(state.kind, value)), () => {});
    node.append(s("circle", { r: 9 }), title);
  }
  node.addEventListener("click", () => show(id));
  node.addEventListener("keydown", (event) => (event.key === "Enter" || event.key === " ") && (event.preventDefault(), show(id)));
  for (const kind of ["pointerenter", "focus"]) node.addEventListener(kind, () => linked(id));
  for (const kind of ["pointerleave", "blur"]) node.addEventListener(kind, () => linked(null));
  return node;
}

function asked() {
  const side = SIDE + 4;
  const node = s("g", { class: "spot query" });
  const query = now().query?.value;
  if (query instanceof Blob) {
    const image = s("image", { x: -side / 2 + 2, y: -side / 2 + 2, width: side - 4, height: side - 4, class: state.kind === "drawings" ? "drawn" : "" });
    image.setAttribute("href", URL.createObjectURL(query));
    image.addEventListener("load", () => URL.revokeObjectURL(image.getAttribute("href")));
    node.append(s("rect", { x: -side / 2, y: -side / 2, width: side, height: side, rx: 9 }), image);
  } else node.append(s("circle", { r: 12 }));
  node.append(s("text", { y: -side / 2 - 6, text: t("you") }));
  return node;
}

/** Lines from an example, or from the query, to what lies nearest. */
function linked(id) {
  const { around } = now();
  if (!around || !drawn) return;
  const from = id === null ? around.query : around.points.find((one) => one.example === id);
  const start = id === null ? drawn.query : drawn.places.get(id);
  const near = (from?.near ?? []).slice(0, 3).filter((one) => drawn.places.has(one.example));
  put(links, start ? near.map((one) => {
    const [x1, y1] = start;
    const [x2, y2] = drawn.places.get(one.example);
    return s("line", { x1, y1, x2, y2 });
  }) : []);
  const lit = new Set([id, ...near.map((one) => one.example)]);
  for (const [key, node] of nodes) node.toggleAttribute("data-dim", id !== null && !lit.has(key));
}

function paint() {
  const here = now();
  const node = $("map");
  if (!here.around) {
    nodes = new Map();
    drawn = null;
    put(node, h("p", { class: "blank", text: t("map_empty") }));
    return;
  }
  width = Math.max(240, node.clientWidth - 30);
  const { points, query } = here.around;
  const every = aligned([...points, ...(query ? [{ ...query, example: null }] : [])], here.places ?? new Map());
  here.places = new Map(every.filter((one) => one.example !== null).map((one) => [one.example, [one.x, one.y]]));
  const fit = fitted(every);
  drawn = { places: new Map(), query: null };
  const doubted = new Set(suspects().map((one) => one.example));
  const there = new Set();
  const shown = [];
  for (const one of every) {
    const [x, y] = fit(one);
    if (one.example === null) {
      drawn.query = [x, y];
      const mark = asked();
      mark.style.transform = `translate(${x}px, ${y}px)`;
      shown.push(mark);
      continue;
    }
    const label = labelOf(one.example);
    if (label === undefined) continue;
    there.add(one.example);
    drawn.places.set(one.example, [x, y]);
    if (!nodes.has(one.example)) nodes.set(one.example, spot(one.example));
    const mark = nodes.get(one.example);
    mark.setAttribute("class", `spot ${colorOf(label)}`);
    mark.setAttribute("aria-label", t("example_of", { label }));
    mark.toggleAttribute("data-suspect", doubted.has(one.example));
    mark.style.transform = `translate(${x}px, ${y}px)`;
    shown.push(mark);
  }
  for (const key of nodes.keys()) if (!there.has(key)) nodes.delete(key);
  let sheet = node.querySelector("svg");
  if (!sheet) {
    sheet = s("svg", { class: "map", role: "group", "aria-labelledby": "title-map" });
    put(node, sheet, h("p", { class: "note", text: t("map_more") }));
  }
  const focused = sheet.contains(document.activeElement) ? document.activeElement : null;
  sheet.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  put(sheet, links, ...shown);
  focused?.focus();
  linked(null);
}

/** Paint the map whenever it changes. */
export function map() {
  on("answer insights", paint);
  addEventListener("resize", later(paint, 150));
  on("opened", () => {
    nodes = new Map();
    paint();
  });
}
