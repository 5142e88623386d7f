/** The question as a drawing. */

import { Easel, pictured } from "./draw.js";
import { h } from "./dom.js";
import { filed, picker } from "./files.js";
import { t } from "./i18n.js";
import { emit, now } from "./state.js";
import { noted } from "./undo.js";

/** The sheet, and what the row of classes asks of it. */
export function drawing() {
  let turn = 0;
  const easel = new Easel({
    async changed(strokes) {
      const here = now();
      const mine = ++turn;
      const value = strokes.length ? await pictured(strokes) : null;
      if (mine !== turn || here !== now() || easel.ghost) return;
      here.query = value && { value };
      Object.assign(here, { strokes, ghost: false });
      emit("query");
    },
    drawn: (before, after) => noted("did_draw", () => easel.set(after), () => easel.set(before)),
  });
  easel.teach(t("draw_here"), t("draw_more"));
  easel.set(now().strokes ?? [], now().ghost ?? false);
  const clear = h("button", { type: "button", text: t("clear"), on: { click: () => easel.clear() } });
  const node = h(
    "div", {}, easel.node,
    h("div", { class: "inputbar" }, clear, picker(t("from_files"), true, filed)),
  );
  return {
    node,
    /** The drawing becomes an example: it stays as a ghost until the next one is begun, and comes back by undoing. */
    async taken() {
      const { strokes } = easel;
      const here = now();
      if (easel.picture) return { value: here.query.value };
      if (easel.ghost || !strokes.length) return null;
      turn++;
      const leave = () => (easel.set(strokes, true), Object.assign(here, { ghost: true, strokes }));
      // At once: the next drawing may begin before the service has answered.
      leave();
      here.query = { value: await pictured(strokes) };
      return {
        value: here.query.value,
        again: leave,
        after: () => ((here.ghost = false), easel.set(strokes)),
      };
    },
    async repaint() {
      if (now().query?.file) easel.picture = await createImageBitmap(now().query.value);
      easel.paint();
    },
    focus: () => easel.sheet.focus(),
  };
}
