/** One example, small or looked at: what is near it, what it does to the answer, whether its label seems right, and deletion. */

import { relabel, remove } from "./actions.js";
import { $, h, put } from "./dom.js";
import { percent, signed, t } from "./i18n.js";
import { inWords, KINDS } from "./kinds.js";
import { colorOf, labelOf, now, pictureOf, state, suspects, valueOf } from "./state.js";

/** A small picture or line of an example, as a button or as a mere picture. */
export function thumb(id, { button = true, label } = {}) {
  const { pictures } = KINDS[state.kind];
  const node = h(button ? "button" : "span", { class: `thumb${state.kind === "drawings" ? " drawn" : ""}`, type: button && "button", "data-example": id });
  const of = label ?? now().examples.find((one) => one.id === id)?.label ?? "";
  if (pictures) {
    const image = h("img", { alt: t("example_of", { label: of }), width: 54, height: 54 });
    pictureOf(id).then((address) => (image.src = address), () => {});
    node.append(image);
  } else {
    valueOf(id).then((value) => {
      node.textContent = inWords(state.kind, value);
      node.title = node.textContent;
    }, () => {});
  }
  if (button) node.addEventListener("click", () => show(id));
  return node;
}

/** Open the example of an id. */
export async function show(id) {
  const dialog = $("example");
  const here = now();
  const label = labelOf(id);
  const { pictures } = KINDS[state.kind];
  const value = await valueOf(id);
  const shown = pictures
    ? h("img", { class: `big${state.kind === "drawings" ? " drawn" : ""}`, src: await pictureOf(id), alt: t("example_of", { label }) })
    : h("blockquote", { text: inWords(state.kind, value) });
  const choice = h(
    "select", { "aria-label": t("label"), on: { change: () => (dialog.close(), relabel(id, choice.value)) } },
    here.order.map((one) => h("option", { value: one, text: one })),
  );
  choice.value = label;
  const side = h("div", { class: "side" }, h("label", { class: "row" }, h("span", { class: "note", text: t("label") }), choice));
  side.append(...facts(id));
  put(
    dialog,
    h("h2", { id: "example-title", text: t("example_of", { label }) }),
    h("div", { class: `detail ${pictures ? "" : "words"}` }, shown, side),
    ...near(id),
    h(
      "div", { class: "ends" },
      h("button", { type: "button", class: "danger", text: t("delete_example"), on: { click: () => (dialog.close(), remove([id])) } }),
      h("button", { type: "button", class: "primary", text: t("close"), on: { click: () => dialog.close() } }),
    ),
  );
  if (!dialog.open) dialog.showModal();
}

/** What is known of it. */
function facts(id) {
  const here = now();
  const found = [];
  const suspect = suspects().find((one) => one.example === id);
  if (suspect) found.push(h("p", { class: "warnbox", text: t("suspect_more", { label: suspect.likelier, share: percent(suspect.share) }) }));
  const left = here.insights?.left_out?.find((one) => one.example === id);
  if (left) {
    const text = left.answer === null ? t("left_alone") : t(left.answer === left.label ? "left_right" : "left_wrong", { label: left.answer });
    found.push(h("p", { text }));
  }
  const asked = here.answer?.items[0];
  const amount = asked?.evidence?.find((one) => one.example === id);
  if (amount) {
    const how = amount.amount === null ? t("decisive") : `${signed(amount.amount)} (${signed(100 * amount.probability, 1)} %)`;
    found.push(h("p", { text: t("influence", { label: asked.label, amount: how }) }));
  } else if (asked) found.push(h("p", { class: "note", text: t("influence_small", { label: asked.label }) }));
  return found;
}

/** Those that lie nearest. */
function near(id) {
  const point = now().around?.points.find((one) => one.example === id);
  if (!point?.near.length) return [];
  const one = ({ example, distance }) =>
    h("figure", { class: colorOf(labelOf(example)) }, thumb(example), h("figcaption", { class: "num" }, h("span", { class: "dot" }), ` ${labelOf(example)} · ${distance.toFixed(2)}`));
  return [h("h3", { text: t("nearest") }), h("div", { class: `near ${KINDS[state.kind].pictures ? "" : "words"}` }, point.near.map(one))];
}
