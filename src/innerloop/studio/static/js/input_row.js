/** The question as a row of a table: a field a column. */

import { h, later, put } from "./dom.js";
import { t } from "./i18n.js";
import { emit, now, valueOf } from "./state.js";
import { pasteButton } from "./paste.js";
import { cell } from "./table.js";

export function row() {
  const grid = h("div", { class: "columns" });
  const node = h("div", {}, grid, h("div", { class: "inputbar" }, pasteButton(t("paste_table"))));
  let columns = [];

  const read = () => Object.fromEntries(columns.map((name, place) => [name, cell(grid.querySelectorAll("input")[place].value)]));
  const changed = later(() => {
    const value = read();
    now().query = Object.values(value).some((one) => one !== null) ? { value } : null;
    emit("query");
  }, 180);

  /** The columns are those of the examples. */
  async function paint() {
    const here = now();
    const [first] = here.examples;
    const found = first ? Object.keys(await valueOf(first.id)) : [];
    if (here !== now() || String(found) === String(columns) && columns.length) return;
    columns = found;
    if (!columns.length) {
      put(grid, h("p", { class: "note", text: t("table_hint") }));
      return;
    }
    const value = here.query?.value ?? {};
    put(grid, columns.map((name) => h("label", {}, name, h("input", { value: value[name] ?? "", on: { input: changed } }))));
  }
  paint();
  return {
    node,
    async taken() {
      const value = columns.length ? read() : {};
      return Object.values(value).some((one) => one !== null) ? { value } : null;
    },
    repaint: paint,
    focus: () => grid.querySelector("input")?.focus(),
  };
}
