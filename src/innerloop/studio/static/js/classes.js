/** The classes with their examples. */

import { addClass, remove, removeClass, rename } from "./actions.js";
import { $, h, icon, put, toast } from "./dom.js";
import { thumb } from "./example.js";
import { droppable, filedAs } from "./files.js";
import { t } from "./i18n.js";
import { KINDS } from "./kinds.js";
import { colorOf, counts, now, on, state, suspects } from "./state.js";

function card(label, members) {
  const { pictures } = KINDS[state.kind];
  const name = h("input", { class: "name", value: label, maxlength: 200, "aria-label": t("class_name", { label }) });
  const change = () => {
    const wanted = name.value.trim();
    if (wanted === label) return;
    if (!wanted || now().order.includes(wanted)) {
      if (wanted) toast(t("name_taken", { label: wanted }));
      name.value = label;
      return;
    }
    rename(label, wanted);
  };
  name.addEventListener("change", change);
  name.addEventListener("keydown", (event) => event.key === "Enter" && name.blur());
  const doubted = new Set(suspects().map((one) => one.example));
  const list = h("ul", { class: `thumbs${pictures ? "" : " words"}`, "aria-label": t("examples_of", { label }) });
  for (const one of members) {
    const small = thumb(one.id, { label });
    if (doubted.has(one.id)) {
      small.setAttribute("data-suspect", "");
      small.title = t("suspect");
    }
    if (now().fresh?.delete(one.id)) small.setAttribute("data-new", "");
    small.addEventListener("keydown", (event) => (event.key === "Delete" || event.key === "Backspace") && remove([one.id]));
    list.append(h("li", {}, small));
  }
  if (!members.length) list.append(h("li", { class: "empty", text: t("no_examples", { label }) }));
  const node = h(
    "article", { class: `panel class ${colorOf(label)}`, "data-class": label },
    h(
      "header", {}, name, h("span", { class: "count num", text: String(members.length), title: t("n_examples", { n: members.length }) }),
      h("button", { type: "button", "aria-label": t("delete_class", { label }), title: t("delete_class", { label }), on: { click: () => removeClass(label) } }, icon("close")),
    ),
    list,
  );
  if (pictures) droppable(node, (files) => filedAs(label, files));
  return node;
}

function paint() {
  const node = $("classes");
  const focused = document.activeElement?.closest?.("[data-class]")?.dataset.class;
  const by = new Map([...counts().keys()].map((label) => [label, []]));
  for (const one of now().examples) by.get(one.label).push(one);
  put(node, [...by].map(([label, members]) => card(label, members)));
  if (focused) [...node.children].find((one) => one.dataset.class === focused)?.querySelector("button.thumb, .name")?.focus();
  $("sample").hidden = now().examples.length > 0;
}

/** Paint the classes whenever they change. */
export function classes() {
  on("order examples insights opened", paint);
  $("add-class").addEventListener("click", () => addClass());
}
