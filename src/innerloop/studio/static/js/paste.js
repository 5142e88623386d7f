/** A sheet of paper for many examples at once: sentences with their labels, or a table. */

import { add } from "./actions.js";
import { $, h, put, toast } from "./dom.js";
import { t } from "./i18n.js";
import { now, state } from "./state.js";
import { sentences, table } from "./table.js";

export const pasteButton = (text) => h("button", { type: "button", text, on: { click: open } });

function open() {
  const dialog = $("paper");
  const rows = state.kind === "rows";
  const box = h("textarea", { rows: 10, "aria-label": t(rows ? "paste_table" : "paste_sentences"), placeholder: t(rows ? "table_example" : "sentences_example") });
  const label = h("select", { "aria-label": t("label_column") });
  const which = h("label", { class: "row", hidden: !rows }, h("span", { class: "note", text: t("label_column") }), label);
  const found = h("p", { class: "note", role: "status" });
  const go = h("button", { type: "submit", class: "primary", text: t("add_all"), disabled: true });
  let examples = [];

  function read() {
    if (rows) {
      const { columns, rows: lines } = table(box.value);
      if (String(columns) !== String([...label.options].map((one) => one.value))) {
        put(label, columns.map((name) => h("option", { value: name, text: name })));
        label.value = columns.at(-1) ?? "";
      }
      examples = lines
        .filter((line) => line[label.value] !== null && line[label.value] !== undefined)
        .map(({ [label.value]: name, ...value }) => ({ label: String(name), value }))
        .filter(({ value }) => Object.keys(value).length);
    } else examples = sentences(box.value);
    const classes = new Set(examples.map((one) => one.label));
    found.textContent = box.value.trim() ? t("paste_found", { n: examples.length, classes: classes.size }) : t(rows ? "table_how" : "sentences_how");
    go.disabled = examples.length === 0;
  }
  box.addEventListener("input", read);
  label.addEventListener("change", read);
  const form = h(
    "form",
    {
      method: "dialog",
      on: {
        submit: () => {
          // Classes that nobody has used make room for those of the paper.
          const used = new Set(now().examples.map((one) => one.label));
          if (used.size === 0) now().order = [];
          add(examples).then(() => toast(t("said_added_many", { n: examples.length })));
        },
      },
    },
    h("h2", { id: "paper-title", text: t(rows ? "paste_table" : "paste_sentences") }),
    box, which, found,
    h("div", { class: "ends" }, h("button", { type: "button", text: t("cancel"), on: { click: () => dialog.close() } }), go),
  );
  put(dialog, form);
  read();
  dialog.showModal();
  box.focus();
}
