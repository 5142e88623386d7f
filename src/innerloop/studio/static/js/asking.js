/** Asks the service again whenever the query or the examples change, and keeps only what is still true. */

import * as api from "./api.js";
import { later, say, toast } from "./dom.js";
import { percent, t } from "./i18n.js";
import { counts, emit, field, now, on, sendable } from "./state.js";

let asking = false;
let stale = false;

/** Classes that have an example. */
export const taught = () => [...counts()].filter(([, count]) => count > 0).map(([label]) => label);
const ready = () => now().task !== null && taught().length > 1;

/** The query as a list of items of a request. */
export async function items() {
  const { query } = now();
  return query === null ? [] : [{ [field()]: await sendable(query.value) }];
}

/** Ask, one question at a time; what changed meanwhile is asked afterwards. */
async function ask() {
  stale = true;
  if (asking) return;
  asking = true;
  try {
    while (stale) {
      stale = false;
      await once();
    }
  } finally {
    asking = false;
  }
}

/** Ask about the query, and for the map. */
async function once() {
  const here = now();
  if (!ready()) {
    here.answer = here.around = null;
    emit("answer");
    return;
  }
  const given = await items();
  const [answer, around] = await Promise.all([
    given.length ? told(() => api.predict(here.task.id, given)) : null,
    told(() => api.around(here.task.id, given)),
  ]);
  if (here !== now()) return;
  here.answer = answer;
  here.around = around;
  emit("answer");
  speak(answer);
}

const speak = later((answer) => {
  if (!answer) return;
  const { label, probabilities } = answer.items[0];
  say(t("said_answer", { label, share: percent(probabilities[label]) }));
}, 500);

async function told(work) {
  try {
    return await work();
  } catch (error) {
    // Examples were deleted meanwhile: there is nothing to tell apart now.
    if (error.status !== 409) toast(error.message);
    return null;
  }
}

/** Look at the examples as a whole: suspects, leave-one-out, curve. */
const look = later(async () => {
  const here = now();
  if (!ready()) {
    here.insights = null;
    emit("insights");
    return;
  }
  const { version } = here.task;
  const found = await told(() => api.insights(here.task.id));
  if (here !== now() || here.task.version !== version) return;
  here.insights = found;
  if (found !== null && found.accuracy !== null) {
    here.history.push({ examples: here.examples.length, accuracy: found.accuracy, interval: found.accuracy_interval });
  }
  emit("insights");
}, 250);

const soon = later(ask, 60);
on("query", soon);
on("examples", () => {
  ask();
  look();
});
