/** The page: what stands where, and what the keys do. */

import { add, nextName } from "./actions.js";
import { bars } from "./bars.js";
import { classes } from "./classes.js";
import { $, h, icon, put, toast } from "./dom.js";
import { evidence } from "./evidence.js";
import { droppable, filed } from "./files.js";
import { speak, t, turn } from "./i18n.js";
import { drawing } from "./input_draw.js";
import { photograph } from "./input_photo.js";
import { row } from "./input_row.js";
import { sentence } from "./input_text.js";
import { KINDS } from "./kinds.js";
import { keeping, opening } from "./keep.js";
import { map } from "./map.js";
import { sampled } from "./samples.js";
import { address, colorOf, emit, now, on, state } from "./state.js";
import { theme } from "./theme.js";
import { canRedo, canUndo, redo, undo } from "./undo.js";
import { views } from "./views.js";

const INPUTS = { drawings: drawing, images: photograph, text: sentence, rows: row };
let input = null;

/** What is asked becomes an example of a class. */
async function teach(label) {
  const given = await input.taken();
  if (given === null) {
    toast(t(`nothing_${state.kind}`));
    input.focus();
    return;
  }
  const { value, ...around } = given;
  await add([{ label, value }], around);
}

function teachRow() {
  const chips = now().order.map((label, place) =>
    h(
      "button", { type: "button", class: `chip ${colorOf(label)}`, "data-teach": label, on: { click: () => teach(label) } },
      h("span", { class: "dot" }), h("span", { text: label }), place < 9 && h("kbd", { "aria-hidden": "true", text: String(place + 1) }),
    ),
  );
  const fresh = h("button", { type: "button", class: "chip ghost", id: "teach-new", on: { click: () => teach(nextName()) } }, t("teach_new", { label: nextName() }));
  put($("teach"), h("span", { text: t("this_is") }), chips, fresh);
}

function kinds() {
  put(
    $("kinds"),
    Object.keys(KINDS).map((kind) =>
      h("button", { type: "button", "aria-pressed": String(kind === state.kind), "data-kind": kind, text: t(`kind_${kind}`), on: { click: () => change(kind) } }),
    ),
  );
}

/** Show the tasks of a kind. */
function change(kind) {
  state.kind = kind;
  address();
  emit("opened");
  emit("examples");
}

function mounted() {
  input?.close?.();
  input = INPUTS[state.kind]();
  put($("input"), input.node);
  $("asking").dataset.kind = state.kind;
  kinds();
  teachRow();
}

function typing(target) {
  return target.closest?.("input, textarea, select, dialog") !== null;
}

function keys(event) {
  if (event.altKey || typing(event.target)) return;
  const command = event.ctrlKey || event.metaKey;
  if (command && event.key.toLowerCase() === "z") (event.shiftKey ? redo : undo)();
  else if (command && event.key.toLowerCase() === "y") redo();
  else if (!command && /^[1-9]$/.test(event.key) && state.view === "teach") {
    const label = now().order[Number(event.key) - 1];
    if (label !== undefined) teach(label);
  } else if (!command && event.key.toLowerCase() === "n" && state.view === "teach") teach(nextName());
  else return;
  event.preventDefault();
}

function wired() {
  for (const node of document.querySelectorAll("[data-icon]")) node.append(icon(node.dataset.icon));
  $("undo").addEventListener("click", undo);
  $("redo").addEventListener("click", redo);
  $("sample").addEventListener("click", sampled);
  $("language").addEventListener("click", async () => {
    await turn();
    named();
    for (const what of ["opened", "examples", "answer", "insights", "spoken"]) emit(what);
  });
  document.addEventListener("keydown", keys);
  document.addEventListener("paste", (event) => KINDS[state.kind].pictures && event.clipboardData.files.length && filed(event.clipboardData.files));
  droppable($("ask"), (files) => KINDS[state.kind].pictures && filed(files));
  on("log", () => {
    $("undo").disabled = !canUndo();
    $("redo").disabled = !canRedo();
  });
  on("opened", mounted);
  on("opened", () => emit("log"));
  on("order examples", () => (teachRow(), state.kind === "rows" && input.repaint()));
  on("pictured painted", () => input.repaint());
  on("query", () => state.kind === "images" && input.repaint());
}

function named() {
  $("language").textContent = t("other_language");
  $("language").setAttribute("aria-label", t("change_language"));
  document.title = t("title");
}

async function begin() {
  await speak();
  named();
  theme();
  wired();
  for (const part of [classes, bars, evidence, map, views, keeping]) part();
  emit("opened");
  emit("examples");
  document.documentElement.dataset.ready = "yes";
  await opening();
}

begin();
