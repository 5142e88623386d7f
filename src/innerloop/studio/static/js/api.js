/** The service: its routes as functions. What is refused is thrown, with the service's own words. */

import { t } from "./i18n.js";

const key = () => sessionStorage.getItem("studio.key");

/** Where the service has keys, the page asks for one, and forgets it with the tab. */
function keyed(sent) {
  if (key() === sent) {
    const given = prompt(t("key_needed"));
    if (!given) return false;
    sessionStorage.setItem("studio.key", given.trim());
  }
  return true;
}

/** A refusal: its status, and what the service says. */
class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

async function call(method, path, { json, body, headers = {}, raw = false } = {}, again = 3) {
  const sent = { ...headers };
  const known = key();
  if (known) sent.Authorization = `Bearer ${key()}`;
  if (json !== undefined) sent["Content-Type"] = "application/json";
  const response = await fetch(path, { method, headers: sent, body: json === undefined ? body : JSON.stringify(json) });
  if ((response.status === 503 || response.status === 429) && again > 0) {
    const seconds = Number(response.headers.get("Retry-After")) || 1;
    await new Promise((go) => setTimeout(go, 1000 * seconds));
    return call(method, path, { json, body, headers, raw }, again - 1);
  }
  if (response.status === 401 && again > 0 && keyed(known)) return call(method, path, { json, body, headers, raw }, again - 1);
  if (!response.ok) {
    const problem = await response.json().catch(() => ({}));
    throw new Refused(response.status, problem.detail ?? response.statusText);
  }
  return raw ? response : response.json();
}

// A write that is tried again is done once.
const once = () => ({ "Idempotency-Key": crypto.randomUUID() });
const of = (task) => `/v1/tasks/${task}`;

export const create = (kind, name) => call("POST", "/v1/tasks", { json: { kind, name }, headers: once() });
export const task = (id) => call("GET", of(id));
export const examples = (id) => call("GET", `${of(id)}/examples`);
export const add = (id, given) => call("POST", `${of(id)}/examples`, { json: { examples: given }, headers: once() });
export const relabel = (id, example, label) => call("PATCH", `${of(id)}/examples/${example}`, { json: { label }, headers: once() });
export const remove = (id, example) => call("DELETE", `${of(id)}/examples/${example}`, { headers: once() });
export const predict = (id, items) => call("POST", `${of(id)}/predict`, { json: { items, evidence: true } });
export const insights = (id) => call("GET", `${of(id)}/insights`);
export const exported = async (id, form) => (await call("GET", `${of(id)}/export?format=${form}`, { raw: true })).blob();
export const imported = (file) => call("POST", "/v1/tasks/import", { body: file, headers: { "Content-Type": "application/zip", ...once() } });
export const around = (id, items) => call("POST", `/studio/tasks/${id}/around`, { json: { items } });
export const heads = (id) => call("GET", `/studio/tasks/${id}/heads`);
export const compare = (id, items, names) => call("POST", `/studio/tasks/${id}/compare`, { json: { items, heads: names } });
export const steps = (id, items) => call("POST", `/studio/tasks/${id}/steps`, { json: { items } });
export const stream = (id, order) => call("POST", `/studio/tasks/${id}/stream`, { json: { order } });

/** What was sent as an example: a blob of an image, a text, or plain values. */
export async function content(id, example, field) {
  const response = await call("GET", `${of(id)}/examples/${example}/content`, { raw: true });
  if (field === "image") return response.blob();
  return field === "text" ? response.text() : response.json();
}
