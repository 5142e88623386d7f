/** How good it is: each example told by the others. Cells of the matrix open the pictures; labels that may be wrong. */

import { relabel, remove } from "./actions.js";
import { taught } from "./asking.js";
import { $, h, put } from "./dom.js";
import { thumb } from "./example.js";
import { percent, t } from "./i18n.js";
import { KINDS } from "./kinds.js";
import { plot } from "./plot.js";
import { colorOf, now, on, state, suspects } from "./state.js";

let chosen = null;

const words = () => (KINDS[state.kind].pictures ? "" : " words");

function score(found) {
  const told = found.left_out?.filter((one) => one.answer !== null) ?? [];
  const right = told.filter((one) => one.answer === one.label).length;
  const [low, high] = found.accuracy_interval;
  return h(
    "section", { class: "panel" },
    h("h2", { text: t("told_by_others") }),
    h("p", { class: "huge num" }, told.length ? `${right} / ${told.length}` : "–"),
    h("p", { class: "note", text: found.accuracy === null || low === null ? t("told_none") : t("told_interval", { share: percent(found.accuracy), low: percent(low), high: percent(high) }) }),
    h("p", { class: "note", text: t("head_is", { head: t(`head_${found.head}`) }) }),
  );
}

function matrix(found) {
  const classes = taught();
  const cells = new Map((found.confusion ?? []).map((one) => [`${one.label}\n${one.answer}`, one.examples]));
  const cell = (label, answer) => {
    const members = cells.get(`${label}\n${answer}`) ?? [];
    const all = classes.reduce((sum, one) => sum + (cells.get(`${label}\n${one}`)?.length ?? 0), 0);
    const key = `${label}\n${answer}`;
    const button = h("button", {
      type: "button", class: `cell num ${label === answer ? "right" : "wrong"}`, "aria-pressed": String(chosen === key), disabled: !members.length,
      "aria-label": t("cell", { n: members.length, label, answer }), text: members.length || "·",
      on: { click: () => ((chosen = chosen === key ? null : key), paint(), $("view-check").querySelector("[aria-pressed=true]")?.focus()) },
    });
    button.style.setProperty("--share", all ? members.length / all : 0);
    return h("td", {}, button);
  };
  return h(
    "section", { class: "panel" },
    h("h2", { text: t("confusion") }), h("p", { class: "note", text: t("confusion_more") }),
    h(
      "div", { class: "scroll", tabindex: 0, role: "group", "aria-label": t("confusion") },
      h(
        "table", { class: "matrix" },
        h("thead", {}, h("tr", {}, h("td", { class: "corner", text: t("corner") }), classes.map((one) => h("th", { scope: "col", class: colorOf(one) }, h("span", { class: "dot" }), ` ${one}`)))),
        h("tbody", {}, classes.map((label) => h("tr", {}, h("th", { scope: "row", class: colorOf(label) }, h("span", { class: "dot" }), ` ${label}`), classes.map((answer) => cell(label, answer))))),
      ),
    ),
    opened(cells),
  );
}

function opened(cells) {
  const members = chosen && cells.get(chosen);
  if (!members) return h("p", { class: "note", text: t("cell_hint") });
  const [label, answer] = chosen.split("\n");
  return h("div", {}, h("h3", { text: t("cell", { n: members.length, label, answer }) }), h("ul", { class: `thumbs${words()}` }, members.map((id) => h("li", {}, thumb(id)))));
}

function curves(found) {
  const shots = found.accuracy_by_shots ?? [];
  const by = shots.length
    ? plot({
        lines: [{ class: "k0", points: shots.map((one, x) => ({ x, y: one.accuracy, low: one.accuracy - 2 * one.error, high: one.accuracy + 2 * one.error })) }],
        ticks: shots.map((one) => String(one.shots)), across: t("shots"), up: t("accuracy"),
        said: shots.map((one) => `${one.shots}: ${percent(one.accuracy)}`).join(", "),
      })
    : h("p", { class: "note", text: t("curve_few") });
  const past = now().history;
  const time = past.length > 1
    ? plot({
        lines: [{ class: "k2", points: past.map((one, x) => ({ x, y: one.accuracy })) }],
        ticks: past.map((one) => String(one.examples)), across: t("as_added"), up: t("accuracy"),
        said: past.map((one) => `${one.examples}: ${percent(one.accuracy)}`).join(", "),
      })
    : h("p", { class: "note", text: t("history_few") });
  return h("section", { class: "panel" }, h("h2", { text: t("curve") }), by, h("h2", { text: t("history") }), time);
}

function doubted() {
  const list = suspects();
  const line = (one) =>
    h(
      "li", { class: colorOf(one.label) }, thumb(one.example),
      h("span", { text: t("suspect_line", { label: one.label, likelier: one.likelier, share: percent(one.share) }) }),
      h("span", { class: "row" },
        h("button", { type: "button", text: t("relabel_as", { label: one.likelier }), on: { click: () => relabel(one.example, one.likelier) } }),
        h("button", { type: "button", class: "danger", text: t("delete_example"), on: { click: () => remove([one.example]) } })),
    );
  return h("section", { class: "panel" }, h("h2", { text: t("suspects") }), list.length ? h("ul", { class: `suspects${words()}` }, list.map(line)) : h("p", { class: "note", text: t("suspects_none") }));
}

function paint() {
  const node = $("view-check");
  if (state.view !== "check") return;
  const found = now().insights;
  if (!found) put(node, h("p", { class: "panel blank", text: t(taught().length < 2 ? "check_empty" : "a_moment") }));
  else put(node, h("div", { class: "col" }, score(found), doubted()), matrix(found), curves(found));
}

/** Paint the check whenever it is looked at. */
export function checking() {
  on("insights view spoken", paint);
  on("opened", () => ((chosen = null), paint()));
}
