/** Words of the page in the language of its reader. */

const LANGUAGES = ["en", "zh"];
let words = {};
export let language = "en";

function wanted() {
  const kept = localStorage.getItem("studio.language");
  if (LANGUAGES.includes(kept)) return kept;
  return (navigator.languages ?? [navigator.language]).some((one) => one.startsWith("zh")) && !navigator.language.startsWith("en") ? "zh" : "en";
}

/** Read a language's words and put them into the page; without a name, the one that the reader has. */
export async function speak(name = wanted()) {
  language = name;
  words = await (await fetch(`i18n/${name}.json`)).json();
  document.documentElement.lang = name === "zh" ? "zh-Hans" : name;
  translate(document);
}

/** Change to the other language, and remember it. */
export async function turn() {
  const next = LANGUAGES[(LANGUAGES.indexOf(language) + 1) % LANGUAGES.length];
  localStorage.setItem("studio.language", next);
  await speak(next);
}

/** A text, with `{name}` filled in; one that depends on a count has `key_one` beside it. */
export function t(key, values = {}) {
  const single = values.n === 1 && words[`${key}_one`];
  return (single || words[key] || key).replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

function translate(root) {
  for (const node of root.querySelectorAll("[data-t]")) node.textContent = t(node.dataset.t);
  for (const node of root.querySelectorAll("[data-label]")) {
    node.setAttribute("aria-label", t(node.dataset.label));
    if (node.tagName === "BUTTON") node.title = t(node.dataset.label);
  }
}

/** A share as percent. */
export const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)} %`;

/** A signed number, with a true minus. */
export const signed = (value, digits = 2) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(digits);
