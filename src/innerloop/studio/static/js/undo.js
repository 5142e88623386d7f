/** What was done, as pairs of doing and undoing; one thing at a time, in the order in which it was asked for. */

import { toast } from "./dom.js";
import { t } from "./i18n.js";
import { emit, now } from "./state.js";

let queue = Promise.resolve();

const logs = () => (now().log ??= { done: [], undone: [] });

/** Do something that can be undone: `redo` and `undo` are what does it, and may wait for the service. */
export const perform = (name, redo, undo) => one(redo, (log) => (log.done.push({ name, redo, undo }), (log.undone = [])));

/** The same for what is done already. */
export const noted = (name, redo, undo) => one(() => {}, (log) => (log.done.push({ name, redo, undo }), (log.undone = [])));

export function undo() {
  const { done, undone } = logs();
  const step = done.pop();
  return step && one(step.undo, () => undone.push(step), () => done.push(step), t("undone", { what: t(step.name) }));
}

export function redo() {
  const { done, undone } = logs();
  const step = undone.pop();
  return step && one(step.redo, () => done.push(step), () => undone.push(step), t("redone", { what: t(step.name) }));
}

export const canUndo = () => logs().done.length > 0;
export const canRedo = () => logs().undone.length > 0;

function one(work, kept, failed = () => {}, words) {
  const log = logs();
  queue = queue.then(async () => {
    try {
      await work();
      kept(log);
      if (words) toast(words);
    } catch (error) {
      failed();
      toast(error.message);
    }
    emit("log");
  });
  emit("log");
  return queue;
}
