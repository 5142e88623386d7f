/** Classes that keep coming: what a learner that keeps the examples still knows, and one that keeps its weights only. */

import * as api from "./api.js";
import { $, h, later, put } from "./dom.js";
import { percent, t } from "./i18n.js";
import { plot } from "./plot.js";
import { colorOf, counts, keepOrder, now, emit, on, state } from "./state.js";

let found = null;

const mean = (row) => row.reduce((a, b) => a + b, 0) / row.length;

function grid(learner) {
  const { classes } = found;
  const cell = (share) => {
    const node = h("td", { class: "num heat", text: percent(share) });
    node.style.setProperty("--share", share);
    return node;
  };
  return h(
    "section", { class: "panel" },
    h("h2", { text: t(`stream_${learner.name}`) }), h("p", { class: "note", text: t(`stream_${learner.name}_more`) }),
    h("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": t(`stream_${learner.name}`) },
      h("table", { class: "matrix" },
        h("thead", {}, h("tr", {}, h("td", { class: "corner", text: t("after_tested") }), classes.map((one) => h("th", { scope: "col", class: colorOf(one) }, h("span", { class: "dot" }), ` ${one}`)))),
        h("tbody", {}, learner.rows.map((row, place) => h("tr", {}, h("th", { scope: "row", text: `+ ${classes[place]}` }), row.map(cell), classes.slice(row.length).map(() => h("td", {}))))))),
  );
}

function order() {
  const here = now();
  const swap = (place) => {
    const next = [...here.order];
    [next[place - 1], next[place]] = [next[place], next[place - 1]];
    here.order = next;
    keepOrder();
    emit("examples");
  };
  const many = counts();
  return h(
    "section", { class: "panel" },
    h("h2", { text: t("stream_order") }), h("p", { class: "note", text: t("stream_more", { n: found?.tests ?? 0 }) }),
    h("ol", { class: "coming" }, here.order.filter((label) => many.get(label)).map((label, place) =>
      h("li", { class: colorOf(label) }, h("span", { class: "dot" }), h("span", { text: label }), h("span", { class: "note num", text: t("n_examples", { n: many.get(label) }) }),
        h("button", { type: "button", disabled: place === 0, "aria-label": t("earlier", { label }), title: t("earlier", { label }), text: "↑", on: { click: () => swap(here.order.indexOf(label)) } })))),
  );
}

function paint() {
  const node = $("view-stream");
  if (!found) {
    put(node, h("p", { class: "panel blank", text: t("stream_empty") }));
    return;
  }
  const lines = found.learners.map((one) => ({
    class: one.name === "keeps" ? "k2" : "k5", name: t(`stream_${one.name}_short`), dashed: one.name !== "keeps",
    points: one.rows.map((row, x) => ({ x, y: mean(row) })),
  }));
  const curve = h("section", { class: "panel" }, h("h2", { text: t("stream_curve") }),
    plot({ lines, ticks: found.classes.map((one) => `+ ${one}`), across: t("stream_across"), up: t("accuracy"),
      said: found.learners.map((one) => `${t(`stream_${one.name}_short`)}: ${one.rows.map((row) => percent(mean(row))).join(", ")}`).join("; ") }));
  put(node, order(), curve, ...found.learners.map(grid));
}

const look = later(async () => {
  if (state.view !== "stream") return;
  const here = now();
  const enough = [...counts().values()].filter((count) => count > 1).length > 1;
  found = here.task && enough ? await api.stream(here.task.id, here.order).catch(() => null) : null;
  if (here === now()) paint();
}, 120);

/** Look whenever it is looked at. */
export function streaming() {
  on("view examples opened spoken", look);
}
