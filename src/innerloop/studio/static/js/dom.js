/** Elements, made without markup in strings: text stays text whatever is in it. */

const SVG = "http://www.w3.org/2000/svg";

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "on") for (const [kind, what] of Object.entries(value)) node.addEventListener(kind, what);
    else if (name === "text") node.textContent = value;
    else if (name === "value" || name === "checked") node[name] = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat().filter((one) => one !== null && one !== undefined && one !== false));
  return node;
}

/** An element of HTML: its name, properties (`on` has listeners, `text` its text), children. */
export const h = (tag, props, ...children) => fill(document.createElement(tag), props, children);

/** The same of SVG. */
export const s = (tag, props, ...children) => fill(document.createElementNS(SVG, tag), props, children);

export const $ = (id) => document.getElementById(id);

/** Put children in place of those that are there. */
export const put = (node, ...children) => node.replaceChildren(...children.flat().filter(Boolean));

const PATHS = {
  undo: ["M8 5 4 9l4 4", "M4 9h9a6 6 0 0 1 0 12h-2"],
  redo: ["m16 5 4 4-4 4", "M20 9h-9a6 6 0 0 0 0 12h2"],
  theme: ["M12 3a9 9 0 1 0 9 9", "M12 3v18", "M12 7h5", "M12 12h9", "M12 17h5"],
  close: ["M6 6l12 12", "M18 6 6 18"],
  pen: ["M4 20c4-1 5-2 7-4L19 8a2.8 2.8 0 0 0-4-4L7 12c-2 2-2 4-3 8Z"],
  picture: ["M4 5h16v14H4z", "m4 16 5-5 4 4 2-2 5 5"],
};

/** A small picture by name. */
export const icon = (name) =>
  s("svg", { class: "glyph", viewBox: "0 0 24 24", "aria-hidden": "true" }, ...PATHS[name].map((d) => s("path", { d })));

/** Run a little later, once, however often it is asked for meanwhile. */
export function later(work, milliseconds) {
  let waiting = 0;
  return (...given) => {
    clearTimeout(waiting);
    waiting = setTimeout(() => work(...given), milliseconds);
  };
}

/** Read out by screen readers. */
export function say(text) {
  $("said").textContent = text;
}

let gone = 0;
/** Shown for a moment, and read out. */
export function toast(text) {
  const node = $("toast");
  node.textContent = text;
  node.setAttribute("data-on", "");
  clearTimeout(gone);
  gone = setTimeout(() => node.removeAttribute("data-on"), 4200);
}
