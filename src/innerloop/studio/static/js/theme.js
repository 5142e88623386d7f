/** Light or dark: as the system has it, until somebody chooses. */

import { $ } from "./dom.js";
import { t } from "./i18n.js";
import { emit, on } from "./state.js";

const dark = matchMedia("(prefers-color-scheme: dark)");

function paint() {
  const kept = localStorage.getItem("studio.theme");
  document.documentElement.dataset.theme = kept ?? (dark.matches ? "dark" : "light");
  const label = t(document.documentElement.dataset.theme === "dark" ? "go_light" : "go_dark");
  $("theme").setAttribute("aria-label", label);
  $("theme").title = label;
  emit("painted");
}

export function theme() {
  dark.addEventListener("change", paint);
  on("spoken", paint);
  $("theme").addEventListener("click", () => {
    localStorage.setItem("studio.theme", document.documentElement.dataset.theme === "dark" ? "light" : "dark");
    paint();
  });
  paint();
}
