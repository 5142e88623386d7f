/** What one can do to a task, each with what undoes it. */

import * as api from "./api.js";
import { say } from "./dom.js";
import { t } from "./i18n.js";
import { emit, field, forget, keepOrder, labelOf, now, open, sendable, state, valueOf } from "./state.js";
import { perform } from "./undo.js";

/** An example that was deleted comes back under another id. */
const again = new Map();
const real = (id) => (again.has(id) ? real(again.get(id)) : id);

async function task() {
  const here = now();
  if (here.task === null) {
    here.task = await api.create(state.kind);
    keepOrder();
  }
  return here.task.id;
}

/** Take over what the service answered to a write, and what it did to the examples here. */
async function took(answer, examples) {
  const here = now();
  const { added, ...task } = answer;
  here.examples = examples;
  here.task = task;
  // Somebody else changed it too.
  if (task.examples !== examples.length) await open(task);
  keepOrder();
  emit("examples");
}

const gone = async (id) => took(await api.remove(await task(), real(id)), now().examples.filter((one) => one.id !== real(id)));
const called = async (id, label) =>
  took(await api.relabel(await task(), real(id), label), now().examples.map((one) => (one.id === real(id) ? { ...one, label } : one)));

async function sent(given) {
  const id = await task();
  const here = now();
  const body = await Promise.all(given.map(async ({ label, value }) => ({ label, [field()]: await sendable(value) })));
  const ids = [];
  // A request takes 256 examples.
  for (let at = 0; at < body.length; at += 200) {
    const answer = await api.add(id, body.slice(at, at + 200));
    answer.added.forEach((one, place) => here.values.set(one.id, Promise.resolve(given[at + place].value)));
    ids.push(...answer.added.map((one) => one.id));
    here.fresh = new Set(ids);
    await took(answer, [...here.examples, ...answer.added]);
  }
  return ids;
}

/** Add examples `[{label, value}]`; `redone` and `after` are done when it is done again and undone. */
export function add(given, { again: redone = () => {}, after = () => {} } = {}) {
  let ids = null;
  const made = [...new Set(given.map((one) => one.label))].filter((label) => !now().order.includes(label));
  return perform(
    "did_add",
    async () => {
      if (ids) redone();
      now().order.push(...made.filter((label) => !now().order.includes(label)));
      // A new class stands there at once, and not when the service has answered.
      if (made.length) emit("order");
      const found = await sent(given);
      ids?.forEach((id, place) => again.set(real(id), found[place]));
      ids = found;
      say(t("said_added", { n: given.length, label: given[0].label }));
    },
    async () => {
      for (const id of ids) await gone(id);
      now().order = now().order.filter((label) => !made.includes(label) || now().examples.some((one) => one.label === label));
      keepOrder();
      after();
      emit("examples");
    },
  );
}

/** Delete examples by their ids. */
export async function remove(ids) {
  const kept = await Promise.all(ids.map(async (id) => ({ id, label: labelOf(id), value: await valueOf(id) })));
  return perform(
    "did_remove",
    async () => {
      for (const one of kept) await gone(one.id);
    },
    async () => {
      const found = await sent(kept);
      kept.forEach((one, place) => again.set(real(one.id), found[place]));
    },
  );
}

/** Give an example another label. */
export function relabel(id, label) {
  const before = labelOf(id);
  if (before === label) return undefined;
  return perform(
    "did_relabel",
    () => called(id, label),
    () => called(id, before),
  );
}

async function renamed(from, to) {
  const here = now();
  here.order = here.order.map((label) => (label === from ? to : label));
  for (const one of here.examples.filter((example) => example.label === from)) {
    await called(one.id, to);
  }
  here.order = here.order.filter((label, place) => here.order.indexOf(label) === place);
  keepOrder();
  emit("examples");
}

/** Give a class another name, one that no other class has. */
export const rename = (from, to) => perform("did_rename", () => renamed(from, to), () => renamed(to, from));

function ordered(order) {
  now().order = order;
  keepOrder();
  emit("examples");
}

/** The next letter that is no class yet. */
export function nextName() {
  const letters = [..."ABCDEFGHIJKLMNOPQRSTUVWXYZ"];
  return letters.find((one) => !now().order.includes(one)) ?? t("class_n", { n: now().order.length + 1 });
}

/** A new class without examples. */
export function addClass(name = nextName()) {
  const before = now().order;
  return perform("did_add_class", () => ordered([...now().order, name]), () => ordered(before));
}

/** Delete a class with its examples. */
export async function removeClass(label) {
  const here = now();
  const before = here.order;
  const kept = await Promise.all(
    here.examples.filter((one) => one.label === label).map(async (one) => ({ id: one.id, label, value: await valueOf(one.id) })),
  );
  return perform(
    "did_remove_class",
    async () => {
      for (const one of kept) await gone(one.id);
      ordered(here.order.filter((one) => one !== label));
    },
    async () => {
      ordered(before);
      if (kept.length) (await sent(kept)).forEach((id, place) => again.set(real(kept[place].id), id));
    },
  );
}

/** Leave the open task as it is, and begin another one of this kind. */
export function begin() {
  forget();
  history.replaceState(null, "", `#kind=${state.kind}`);
  emit("opened");
  emit("examples");
}
