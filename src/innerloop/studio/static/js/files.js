/** Pictures from files, from the clipboard, and dropped onto the page: made small, so that they travel fast. */

import { add } from "./actions.js";
import { h, toast } from "./dom.js";
import { t } from "./i18n.js";
import { emit, now, state } from "./state.js";

const SIDE = 384;

/** A picture of at most 384 pixels a side. */
export async function small(source) {
  const picture = source instanceof Blob ? await createImageBitmap(source) : source;
  const [width, height] = [picture.videoWidth ?? picture.width, picture.videoHeight ?? picture.height];
  const scale = Math.min(1, SIDE / Math.max(width, height));
  const sheet = h("canvas", { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) });
  const pen = sheet.getContext("2d");
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, sheet.width, sheet.height);
  pen.drawImage(picture, 0, 0, sheet.width, sheet.height);
  return new Promise((made) => sheet.toBlob(made, state.kind === "drawings" ? "image/png" : "image/jpeg", 0.92));
}

const readable = (files) => [...files].filter((one) => one.type.startsWith("image/"));

/** Ask about a picture from a file. */
export async function filed(files) {
  const [file] = readable(files);
  if (!file) return toast(t("no_picture"));
  try {
    Object.assign(now(), { query: { value: await small(file), file: true }, strokes: [] });
  } catch {
    return toast(t("no_picture"));
  }
  emit("query");
  return emit("pictured");
}

/** Add pictures from files to a class. */
export async function filedAs(label, files) {
  const found = [];
  for (const file of readable(files)) {
    try {
      found.push({ label, value: await small(file) });
    } catch {
      toast(t("no_picture"));
    }
  }
  if (found.length) await add(found);
  else toast(t("no_picture"));
}

/** A button that opens the system's choice of files. */
export function picker(text, single, chosen) {
  const input = h("input", {
    type: "file", accept: "image/*", multiple: !single, hidden: true, "aria-label": text,
    on: { change: () => (chosen(input.files), (input.value = "")) },
  });
  return h("span", {}, h("button", { type: "button", text, on: { click: () => input.click() } }), input);
}

/** Let files be dropped onto an element. */
export function droppable(node, dropped) {
  node.addEventListener("dragover", (event) => {
    if (![...event.dataTransfer.types].includes("Files")) return;
    event.preventDefault();
    node.classList.add("over");
  });
  for (const kind of ["dragleave", "drop"]) node.addEventListener(kind, () => node.classList.remove("over"));
  node.addEventListener("drop", (event) => {
    if (!event.dataTransfer.files.length) return;
    event.preventDefault();
    event.stopPropagation();
    dropped(event.dataTransfer.files);
  });
}
