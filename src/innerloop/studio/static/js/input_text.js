/** The question as a sentence. */

import { h, later } from "./dom.js";
import { t } from "./i18n.js";
import { emit, now } from "./state.js";
import { pasteButton } from "./paste.js";

export function sentence() {
  const box = h("textarea", { "aria-label": t("sentence"), placeholder: t("sentence_hint"), maxlength: 10000, value: now().query?.value ?? "" });
  const changed = later(() => {
    const value = box.value.trim();
    now().query = value ? { value } : null;
    emit("query");
  }, 180);
  box.addEventListener("input", changed);
  return {
    node: h("div", {}, box, h("div", { class: "inputbar" }, pasteButton(t("paste_sentences")))),
    async taken() {
      const value = box.value.trim();
      if (!value) return null;
      now().query = { value };
      box.value = "";
      return { value, again: () => (box.value = ""), after: () => ((box.value = value), box.dispatchEvent(new Event("input"))) };
    },
    repaint: () => {},
    focus: () => box.focus(),
  };
}
