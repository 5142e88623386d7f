/** What is kept and shared: a file, a link, an export; and what the address says when the page is opened. */

import { add, begin } from "./actions.js";
import * as api from "./api.js";
import { $, h, put, toast } from "./dom.js";
import { t } from "./i18n.js";
import { KINDS } from "./kinds.js";
import { packed, unpacked } from "./link.js";
import { emit, now, on, open, state } from "./state.js";

function saved(blob, name) {
  const link = h("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

async function exported(form, ending) {
  try {
    saved(await api.exported(now().task.id, form), `${state.kind}.${ending}`);
    toast(t("did_export"));
  } catch (error) {
    toast(error.message);
  }
}

async function copied() {
  const address = (await packed()) ?? location.href;
  try {
    await navigator.clipboard.writeText(address);
    toast(t(address === location.href ? "link_here" : "link_copied"));
  } catch {
    history.replaceState(null, "", address);
    toast(t("link_in_bar"));
  }
}

/** Show a task of the service. */
async function shown(task, order = null) {
  if (!KINDS[task.kind]) return toast(t("kind_unknown", { kind: task.kind }));
  state.kind = task.kind;
  await open(task, order);
  emit("opened");
  return emit("examples");
}

async function brought(file) {
  try {
    await shown(await api.imported(file));
    toast(t("did_open"));
  } catch (error) {
    toast(error.message);
  }
}

const file = h("input", { type: "file", accept: ".zip,application/zip", hidden: true, on: { change: () => (file.files[0] && brought(file.files[0]), (file.value = "")) } });

function menu() {
  const none = now().examples.length === 0;
  const classes = new Set(now().examples.map((one) => one.label)).size;
  const entry = (key, work, off) => h("button", { type: "button", disabled: off, text: t(key), on: { click: () => (shut(), work()) } });
  put(
    $("keep-menu"),
    entry("copy_link", copied, none),
    entry("save_file", () => exported("bundle", "zip"), classes < 2),
    entry("export_onnx", () => exported("onnx", "onnx"), classes < 2 || state.kind === "rows"),
    entry("open_file", () => file.click(), false),
    entry("begin_again", begin, none),
    file,
  );
}

function shut() {
  $("keep-menu").hidden = true;
  $("keep").setAttribute("aria-expanded", "false");
}

/** The menu of what can be kept. */
export function keeping() {
  $("keep").addEventListener("click", () => {
    const opens = $("keep-menu").hidden;
    menu();
    $("keep-menu").hidden = !opens;
    $("keep").setAttribute("aria-expanded", String(opens));
    if (opens) $("keep-menu").querySelector("button:not(:disabled)")?.focus();
  });
  $("keep-menu").addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") (shut(), $("keep").focus());
    if (!step) return;
    const entries = [...$("keep-menu").querySelectorAll("button:not(:disabled)")];
    entries.at((entries.indexOf(document.activeElement) + step) % entries.length).focus();
    event.preventDefault();
  });
  document.addEventListener("pointerdown", (event) => event.target.closest(".menu") || shut());
  on("opened", shut);
  addEventListener("hashchange", opening);
}

/** Do what the address says: open a task, take over examples, or show a kind. */
export async function opening() {
  const said = new URLSearchParams(location.hash.slice(1));
  const [[what, value] = []] = said;
  try {
    if (what === "task" && now().task?.id !== value) await shown(await api.task(value), said.get("order"));
    else if (what === "kind" && KINDS[value] && value !== state.kind) {
      state.kind = value;
      emit("opened");
      emit("examples");
    } else if (what === "examples") {
      const { kind, order, examples } = await unpacked(value);
      state.kind = kind;
      begin();
      now().order = order;
      emit("opened");
      await add(examples);
    }
  } catch (error) {
    history.replaceState(null, "", location.pathname);
    toast(error.message);
  }
}
