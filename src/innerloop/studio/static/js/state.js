/** What the page knows, and who wants to hear when it changes. */

import * as api from "./api.js";
import { KINDS } from "./kinds.js";

export const state = {
  kind: "drawings",
  /** Of each kind the task that is open, and what goes with it. */
  open: {},
  view: "teach",
};

const fresh = () => ({
  task: null,
  examples: [],
  order: ["A", "B"],
  /** What was sent as each example, by id. */
  values: new Map(),
  /** Addresses of pictures, by id. */
  pictures: new Map(),
  query: null,
  answer: null,
  around: null,
  insights: null,
  /** Accuracy by leave-one-out after each change: {examples, accuracy}. */
  history: [],
});

/** The open task of the kind that is shown. */
export const now = () => (state.open[state.kind] ??= fresh());
export const forget = () => (state.open[state.kind] = fresh());
export const field = () => KINDS[state.kind].field;

const listeners = new Map();
export function on(what, work) {
  for (const one of what.split(" ")) listeners.set(one, [...(listeners.get(one) ?? []), work]);
}
export function emit(what) {
  for (const work of listeners.get(what) ?? []) work();
}

/** Examples whose label may be wrong, with the share of belief in the other one. */
export const suspects = () =>
  (now().insights?.suspects ?? []).filter((one) => one.suspicion > 0.5).map((one) => ({ ...one, share: 1 / (1 + Math.exp(-one.suspicion)) }));

/** The place of a class among the colors. */
export const colorOf = (label) => `k${Math.max(0, now().order.indexOf(label)) % 10}`;
export const labelOf = (id) => now().examples.find((one) => one.id === id)?.label;
export const counts = () => {
  const found = new Map(now().order.map((label) => [label, 0]));
  for (const one of now().examples) found.set(one.label, (found.get(one.label) ?? 0) + 1);
  return found;
};

/** What was sent as an example, asked for once. */
export async function valueOf(id) {
  const here = now();
  if (!here.values.has(id)) here.values.set(id, api.content(here.task.id, id, field()));
  return here.values.get(id);
}

/** The address of an example's picture. */
export async function pictureOf(id) {
  const here = now();
  if (!here.pictures.has(id)) here.pictures.set(id, valueOf(id).then((blob) => URL.createObjectURL(blob)));
  return here.pictures.get(id);
}

/** Bytes in base64. */
export function base64(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
}

/** A value as a request has it: pictures in base64. */
export async function sendable(value) {
  return value instanceof Blob ? base64(new Uint8Array(await value.arrayBuffer())) : value;
}

/** Say in the address what is open, and in which order its classes came: whoever gets the link sees them in the same colors. */
export function address() {
  const { task, order } = now();
  history.replaceState(null, "", task ? `#task=${task.id}&order=${encodeURIComponent(JSON.stringify(order))}` : `#kind=${state.kind}`);
}

/** Remember in which order classes came, since the service does not. */
export function keepOrder() {
  const here = now();
  if (!here.task) return;
  localStorage.setItem(`studio.order.${here.task.id}`, JSON.stringify(here.order));
  address();
}

/** An order as it was kept, or nothing where it is none: anybody may write a link. */
function read(kept) {
  try {
    const order = JSON.parse(kept);
    return Array.isArray(order) && order.every((one) => one && typeof one === "string") ? [...new Set(order)] : null;
  } catch {
    return null;
  }
}

/** Take over what the service has of a task, its classes in the order that is known here or given. */
export async function open(task, given = null) {
  const here = now();
  const kept = here.task?.id === task.id ? here.order : read(given) ?? read(localStorage.getItem(`studio.order.${task.id}`));
  here.task = task;
  here.examples = (await api.examples(task.id)).examples;
  const there = Object.keys(task.classes);
  here.order = [...(kept ?? there), ...there.filter((label) => kept && !kept.includes(label))];
  keepOrder();
}
