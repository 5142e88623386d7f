/** The question as a photograph: dropped, chosen, pasted, or taken by the camera. */

import { h, icon, put } from "./dom.js";
import { filed, picker, small } from "./files.js";
import { t } from "./i18n.js";
import { emit, now } from "./state.js";
import { Camera } from "./camera.js";

export function photograph() {
  const drop = h("div", { class: "drop", tabindex: 0, role: "group", "aria-label": t("photo_here") });
  const camera = new Camera();
  const shot = h("button", { type: "button", class: "primary", text: t("shoot"), hidden: true, on: { click: shoot } });
  const start = h("button", { type: "button", text: t("camera"), on: { click: toggle } });
  let shown = null;

  function paint() {
    if (camera.running) return;
    const { query } = now();
    if (shown) URL.revokeObjectURL(shown);
    shown = query && URL.createObjectURL(query.value);
    if (query) put(drop, h("img", { src: shown, alt: t("your_photo") }));
    else put(drop, icon("picture"), h("b", { text: t("photo_here") }), h("span", { class: "note", text: t("photo_more") }));
  }
  async function toggle() {
    if (camera.running) camera.stop();
    else if (await camera.start()) put(drop, camera.video);
    shot.hidden = !camera.running;
    start.textContent = t(camera.running ? "camera_off" : "camera");
    if (!camera.running) paint();
  }
  async function shoot() {
    now().query = { value: await small(camera.video) };
    emit("query");
  }
  paint();
  return {
    node: h("div", {}, drop, h("div", { class: "inputbar" }, picker(t("from_files"), true, filed), start, shot)),
    async taken() {
      if (camera.running) await shoot();
      const { query } = now();
      return query && { value: query.value };
    },
    repaint: paint,
    focus: () => drop.focus(),
    close: () => camera.stop(),
  };
}
