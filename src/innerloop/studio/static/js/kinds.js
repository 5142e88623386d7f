/** The kinds of tasks that the page has: what an example is called in a request, and how it is shown. */

export const KINDS = {
  drawings: { field: "image", pictures: true },
  images: { field: "image", pictures: true },
  text: { field: "text", pictures: false },
  rows: { field: "row", pictures: false },
};

/** A value in a line of text. */
export function inWords(kind, value) {
  if (kind === "text") return value;
  return Array.isArray(value) ? value.join(" · ") : Object.entries(value).map(([name, cell]) => `${name} ${cell ?? "–"}`).join(" · ");
}
