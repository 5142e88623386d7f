/** "Because of these examples": what each did to the answer, by learning again without it. */

import { $, h, put } from "./dom.js";
import { thumb } from "./example.js";
import { signed, t } from "./i18n.js";
import { KINDS } from "./kinds.js";
import { colorOf, labelOf, now, on, state } from "./state.js";

const MOST = 6;

function paint() {
  const found = now().answer?.items[0];
  const node = $("because");
  node.hidden = !found;
  if (!found) return;
  const shown = found.evidence.filter((one) => labelOf(one.example) !== undefined).slice(0, MOST);
  const largest = Math.max(1e-9, ...shown.map((one) => Math.abs(one.amount ?? 0)));
  put(
    node,
    h("h3", { text: t("because", { label: found.label }) }),
    h("ul", { class: `because ${KINDS[state.kind].pictures ? "" : "words"}` }, shown.map((one) => line(one, largest))),
    h("p", { class: "note", text: t("because_more", { label: found.label }) }),
  );
}

function line({ example, amount }, largest) {
  const label = labelOf(example);
  const against = amount !== null && amount < 0;
  const fill = h("span", { class: `fill${against ? " against" : ""}` });
  fill.style.transform = `scaleX(${amount === null ? 1 : Math.abs(amount) / largest})`;
  return h(
    "li", { class: colorOf(label) }, thumb(example),
    h("span", { class: "diverging" }, fill),
    h("span", { class: "amount num" }, amount === null ? t("all_of_it") : signed(amount), h("small", { text: label })),
  );
}

/** Paint the reasons whenever the answer changes. */
export function evidence() {
  on("answer opened", paint);
}
