/** Two learners on the same examples and the same question; and an inner loop, step by step. */

import * as api from "./api.js";
import { items, taught } from "./asking.js";
import { listed, moved } from "./bars.js";
import { $, h, later, put, toast } from "./dom.js";
import { percent, t } from "./i18n.js";
import { plot } from "./plot.js";
import { now, on, state } from "./state.js";

const pair = [null, null];
let known = [];
let steps = [];
let at = 0;
let playing = 0;
const rows = new Map();

const learners = h("div", { class: "pair" });
const loop = h("section", { class: "panel loop" });
const slot = h("div");

/** Bars that stay in place from one painting to the next. */
function bars(key, shares) {
  const { node, lines } = rows.get(key) ?? rows.set(key, { node: h("ul", { class: "bars" }), lines: new Map() }).get(key);
  listed(node, moved(lines, taught(), shares));
  return node;
}

function column(place, found) {
  const choice = h("select", { "aria-label": t(place ? "learner_two" : "learner_one"), on: { change: () => ((pair[place] = choice.value), look()) } }, known.map((name) => h("option", { value: name, text: t(`head_${name}`) })));
  choice.value = pair[place];
  const shares = found.items[0];
  const label = shares && Object.keys(shares).reduce((a, b) => (shares[a] >= shares[b] ? a : b));
  return h(
    "section", { class: "panel" }, choice,
    h("p", { class: "verdict" }, h("strong", { text: label ?? t("ask_me") }), label && h("span", { class: "num", text: percent(shares[label]) })),
    bars(`learner ${place}`, shares),
    h("p", { class: "note num", text: found.accuracy === null ? t("left_out_none") : t("left_out_is", { share: percent(found.accuracy) }) }),
  );
}

function stepped() {
  const here = steps[at];
  if (!here) return;
  const slider = loop.querySelector("input") ?? h("input", { type: "range", min: 0, step: 1, on: { input: () => ((at = Number(slider.value)), stop(), stepped()) } });
  Object.assign(slider, { max: steps.length - 1, value: at });
  slider.setAttribute("aria-label", t("step"));
  slider.setAttribute("aria-valuetext", t("after_steps", { n: here.step }));
  const play = loop.querySelector("button") ?? h("button", { type: "button", on: { click: () => (playing ? stop() : start()) } });
  play.textContent = t(playing ? "pause" : "play");
  const top = Math.max(1e-9, ...steps.map((one) => one.loss));
  const curve = plot({
    lines: [
      { class: "k9", name: t("loss"), points: steps.map((one, x) => ({ x, y: one.loss })) },
      { class: "k2", name: t("right"), dashed: true, points: steps.map((one, x) => ({ x, y: one.accuracy * top })) },
    ],
    ticks: steps.map((one) => String(one.step)), top, across: t("gradient_steps"), up: t("loss_nats"), mark: at,
    said: t("steps_said", { first: steps[0].loss.toFixed(2), last: steps.at(-1).loss.toFixed(2) }),
  });
  const focused = document.activeElement;
  put(
    loop, h("h2", { text: t("inner_loop") }), h("p", { class: "note", text: t("inner_loop_more") }),
    h("div", { class: "twin" },
      h("div", {}, h("div", { class: "row" }, play, h("span", { class: "grow" }, slider)), h("p", { class: "num", text: t("step_now", { step: here.step, loss: here.loss.toFixed(3), share: percent(here.accuracy) }) }), bars("loop", here.items[0])),
      curve),
  );
  if (loop.contains(focused)) focused.focus();
}

function stop() {
  clearInterval(playing);
  playing = 0;
}

function start() {
  at = at === steps.length - 1 ? 0 : at;
  playing = setInterval(() => {
    if (at >= steps.length - 1) stop();
    else at++;
    stepped();
  }, 550);
  stepped();
}

const look = later(async () => {
  if (state.view !== "compare") return;
  const here = now();
  if (taught().length < 2 || !here.task) {
    put(learners, h("p", { class: "panel blank", text: t("check_empty") }));
    put(loop);
    loop.hidden = true;
    return;
  }
  try {
    const given = await items();
    const { heads, head } = await api.heads(here.task.id);
    known = heads;
    if (!known.includes(pair[0])) pair[0] = known.includes(head) ? head : known[0];
    if (!known.includes(pair[1])) pair[1] = known.find((name) => name !== pair[0] && name.startsWith("prototypes")) ?? known.at(-1);
    const [both, path] = await Promise.all([api.compare(here.task.id, given, pair), api.steps(here.task.id, given)]);
    if (here !== now()) return;
    steps = path.steps;
    at = Math.min(at, steps.length - 1);
    put(learners, both.learners.map((found, place) => column(place, found)));
    loop.hidden = false;
    stepped();
  } catch (error) {
    toast(error.message);
  }
}, 120);

/** Compare whenever it is looked at. The question is the same one as on the first tab. */
export function comparing() {
  put($("view-compare"), slot, learners, loop);
  on("view", () => {
    const home = document.querySelector(".ask");
    const wanted = state.view === "compare" ? slot : home;
    if ($("asking").parentElement !== wanted) wanted.append($("asking"));
    if (state.view !== "compare") stop();
    look();
  });
  on("query examples spoken", look);
  on("opened", () => {
    stop();
    pair.fill(null);
    rows.clear();
    at = 0;
    look();
  });
}
