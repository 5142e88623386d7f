/** The tabs: teach, check, compare, stream. */

import { checking } from "./check.js";
import { comparing } from "./compare.js";
import { $, h, put } from "./dom.js";
import { t } from "./i18n.js";
import { emit, on, state } from "./state.js";
import { streaming } from "./stream.js";

const VIEWS = ["teach", "check", "compare", "stream"];

function show(name) {
  state.view = name;
  for (const one of VIEWS) $(`view-${one}`).hidden = one !== name;
  for (const tab of $("views").children) {
    const chosen = tab.dataset.view === name;
    tab.setAttribute("aria-selected", String(chosen));
    tab.tabIndex = chosen ? 0 : -1;
  }
  emit("view");
}

function tabs() {
  put(
    $("views"),
    VIEWS.map((name) =>
      h("button", { type: "button", role: "tab", id: `tab-${name}`, "aria-controls": `view-${name}`, "data-view": name, text: t(`view_${name}`), on: { click: () => show(name) } }),
    ),
  );
  show(state.view);
}

export function views() {
  tabs();
  on("spoken", tabs);
  $("views").addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    show(VIEWS.at((VIEWS.indexOf(state.view) + step) % VIEWS.length));
    $(`tab-${state.view}`).focus();
    event.preventDefault();
  });
  for (const part of [checking, comparing, streaming]) part();
}
