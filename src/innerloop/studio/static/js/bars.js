/** The answer: a bar for each class, kept in place so that it moves; one for "none of these"; what is promised. */

import { $, h, put } from "./dom.js";
import { percent, t } from "./i18n.js";
import { taught } from "./asking.js";
import { colorOf, now, on } from "./state.js";

let rows = new Map();
const verdict = h("p", { class: "verdict" });
const list = h("ul", { class: "bars" });
const promise = h("div", { class: "promise" });

function line(kind, label) {
  const fill = h("span", { class: "fill" });
  const track = h("span", { class: "track" }, fill);
  const per = h("span", { class: "per num" });
  const node = h("li", { class: kind }, h("span", { class: "who", text: label, title: label }), track, per);
  return { node, fill, per, track };
}

/** The bars of classes as nodes: those that `kept` has by label, moved to where they are now. */
export function moved(kept, labels, shares) {
  return labels.map((label) => {
    if (!kept.has(label)) kept.set(label, line("", label));
    const one = kept.get(label);
    one.node.className = colorOf(label);
    one.fill.style.transform = `scaleX(${shares?.[label] ?? 0})`;
    one.per.textContent = shares ? percent(shares[label] ?? 0) : "–";
    return one.node;
  });
}

/** Put nodes into a list, those that are in their place left alone. */
export function listed(list, nodes) {
  for (const [place, node] of nodes.entries()) if (list.children[place] !== node) list.insertBefore(node, list.children[place] ?? null);
  while (list.children.length > nodes.length) list.lastChild.remove();
}

/** Steps to a first answer, those that are done ticked. */
function teaching() {
  const classes = taught().length;
  const step = (key, done) => h("li", { "data-done": done }, h("span", {}, h("b", { text: t(`step_${key}`) }), t(`step_${key}_more`)));
  return h("ol", { class: "teachme" }, step("first", classes > 0), step("second", classes > 1), step("third", false));
}

function paint() {
  const here = now();
  const found = here.answer?.items[0];
  if (taught().length < 2) {
    rows = new Map();
    put($("answer"), teaching());
    return;
  }
  put(verdict, said(found));
  verdict.className = `verdict${found ? "" : " none"}`;
  listed(list, [...moved(rows, taught(), found?.probabilities), none(found, here.answer?.error)]);
  promises(found, here);
  if (!list.isConnected) put($("answer"), verdict, list, promise);
}

function said(found) {
  if (!found) return [h("strong", { text: t("ask_me") })];
  const share = percent(found.probabilities[found.label]);
  if (found.none_of_these) return [h("strong", { text: t("none_of_these"), "data-verdict": "" }), h("span", { text: t("closest", { label: found.label }) })];
  return [h("strong", { text: found.label, "data-verdict": found.label }), h("span", { class: "num", text: share })];
}

/** How unlike all classes it is; the tick is where it counts as none of these. */
function none(found, error) {
  if (!rows.has(null)) {
    const one = line("none", t("none_bar"));
    one.tick = h("span", { class: "tick", hidden: true });
    one.track.append(one.tick);
    rows.set(null, one);
  }
  const one = rows.get(null);
  one.node.querySelector(".who").textContent = one.node.querySelector(".who").title = t("none_bar");
  one.fill.style.transform = `scaleX(${found ? found.unknown : 0})`;
  const tells = found && found.none_of_these !== null;
  one.per.textContent = !found ? "–" : tells ? t(found.none_of_these ? "yes" : "no") : "?";
  one.tick.hidden = !tells;
  if (tells) one.tick.style.left = `${100 * (1 - error)}%`;
  return one.node;
}

function promises(found, here) {
  const n = here.examples.length;
  const most = n / (n + 1);
  const text = most < 0.9 ? t("promise_few", { n, share: percent(most) }) : t("promise_enough", { n });
  const set = found && h(
    "p", { class: "set" }, t("set", { share: percent(here.answer.coverage) }),
    found.set.length ? found.set.map((label) => h("i", { class: colorOf(label), text: label })) : h("i", { text: t("set_empty") }),
  );
  put(promise, set, h("p", { class: "note", text: found && found.none_of_these === null ? `${text} ${t("none_few")}` : text }));
}

/** Paint the answer whenever it changes. */
export function bars() {
  on("answer examples opened", paint);
}
