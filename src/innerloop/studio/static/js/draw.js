/** A sheet to draw on: mouse, touch, pen, and the keyboard alone. Strokes are lists of points between 0 and 1. */

import { h, icon, later, put } from "./dom.js";
import { t } from "./i18n.js";

const WIDTH = 0.05;
const SIDE = 128;
const MOVES = {
  ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1],
  Home: [-1, -1], PageUp: [1, -1], End: [-1, 1], PageDown: [1, 1],
};

function trace(pen, strokes, side) {
  pen.lineCap = pen.lineJoin = "round";
  pen.lineWidth = WIDTH * side;
  for (const stroke of strokes) {
    const at = stroke.map(([x, y]) => [x * side, y * side]);
    pen.beginPath();
    pen.moveTo(...at[0]);
    if (at.length === 1) pen.lineTo(at[0][0] + 0.01, at[0][1]);
    for (let i = 1; i < at.length - 1; i++) {
      pen.quadraticCurveTo(...at[i], (at[i][0] + at[i + 1][0]) / 2, (at[i][1] + at[i + 1][1]) / 2);
    }
    if (at.length > 1) pen.lineTo(...at.at(-1));
    pen.stroke();
  }
}

/** Strokes as a picture, black on white. */
export function pictured(strokes) {
  const sheet = h("canvas", { width: SIDE, height: SIDE });
  const pen = sheet.getContext("2d");
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, SIDE, SIDE);
  trace(pen, strokes, SIDE);
  return new Promise((made) => sheet.toBlob(made, "image/png"));
}

export class Easel {
  /**
   * @param changed called with the strokes when they change, `drawn` when a stroke is finished, so that it can be undone
   */
  constructor({ changed, drawn }) {
    this.changed = later(changed, 40);
    this.drawn = drawn;
    this.strokes = [];
    this.ghost = false;
    /** A picture from a file, in place of strokes. */
    this.picture = null;
    this.at = [0.5, 0.5];
    this.down = false;
    this.sheet = h("canvas", { tabindex: 0, role: "application", "aria-label": t("sheet"), "aria-describedby": "sheet-help" });
    this.hint = h("div", { class: "hint" });
    this.node = h("div", { class: "easel" }, this.sheet, this.hint, h("p", { class: "unseen", id: "sheet-help", text: t("sheet_help") }));
    this.listen();
    new ResizeObserver(() => this.paint()).observe(this.sheet);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.paint());
  }

  /** Put strokes in place of those that are there; a ghost goes with the first new stroke. */
  set(strokes, ghost = false) {
    this.strokes = strokes;
    this.ghost = ghost;
    this.picture = null;
    this.paint();
    if (!ghost) this.changed(this.strokes);
  }

  begin(point) {
    if (this.ghost) this.strokes = [];
    this.ghost = false;
    this.picture = null;
    this.before = this.strokes;
    this.strokes = [...this.strokes, [point]];
    this.paint();
  }

  go(point) {
    this.strokes.at(-1).push(point);
    this.paint();
    this.changed(this.strokes);
  }

  end() {
    this.changed(this.strokes);
    this.drawn(this.before, this.strokes);
  }

  listen() {
    const { sheet } = this;
    let pointer = null;
    const point = (event) => {
      const box = sheet.getBoundingClientRect();
      return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    };
    sheet.addEventListener("pointerdown", (event) => {
      if (pointer !== null || event.button !== 0) return;
      pointer = event.pointerId;
      sheet.setPointerCapture(pointer);
      this.lift();
      this.begin(point(event));
      event.preventDefault();
      sheet.focus({ preventScroll: true, focusVisible: false });
    });
    sheet.addEventListener("pointermove", (event) => {
      if (event.pointerId !== pointer) return;
      const between = event.getCoalescedEvents?.() ?? [];
      for (const one of between.length ? between : [event]) this.go(point(one));
    });
    for (const kind of ["pointerup", "pointercancel"]) {
      sheet.addEventListener(kind, (event) => {
        if (event.pointerId !== pointer) return;
        pointer = null;
        this.end();
      });
    }
    sheet.addEventListener("keydown", (event) => this.pressed(event));
    sheet.addEventListener("focus", () => this.paint());
    sheet.addEventListener("blur", () => (this.lift(), this.paint()));
  }

  lift() {
    if (this.down) this.end();
    this.down = false;
  }

  pressed(event) {
    const move = MOVES[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (move) {
      const step = event.shiftKey ? 0.02 : 0.08;
      this.at = this.at.map((value, axis) => Math.min(0.96, Math.max(0.04, value + step * move[axis])));
      if (this.down) this.go(this.at);
      else this.paint();
    } else if (event.key === " ") {
      if (this.down) this.lift();
      else {
        this.down = true;
        this.begin(this.at);
      }
      this.paint();
    } else if (event.key === "Backspace" || event.key === "Delete") this.clear();
    else return;
    this.keyed = true;
    event.preventDefault();
  }

  /** An empty sheet, which can be undone. */
  clear() {
    this.down = false;
    const before = this.ghost ? [] : this.strokes;
    this.set([]);
    if (before.length) this.drawn(before, []);
  }

  paint() {
    const { sheet } = this;
    const side = Math.round(sheet.clientWidth * (devicePixelRatio || 1));
    if (side === 0) return;
    if (sheet.width !== side) sheet.width = sheet.height = side;
    const pen = sheet.getContext("2d");
    const ink = getComputedStyle(sheet).color;
    pen.clearRect(0, 0, side, side);
    pen.strokeStyle = ink;
    pen.globalAlpha = this.ghost ? 0.13 : 1;
    if (this.picture) pen.drawImage(this.picture, 0, 0, side, side);
    trace(pen, this.strokes, side);
    pen.globalAlpha = 1;
    const keyboard = document.activeElement === sheet && sheet.matches(":focus-visible");
    if (keyboard) this.cross(pen, side);
    this.hint.hidden = this.strokes.length > 0 || this.picture !== null || keyboard;
  }

  cross(pen, side) {
    const [x, y] = this.at.map((value) => value * side);
    const size = side * 0.03;
    pen.strokeStyle = pen.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--accent");
    pen.lineWidth = side * 0.006;
    pen.beginPath();
    pen.arc(x, y, size, 0, 7);
    if (this.down) pen.fill();
    pen.moveTo(x - 2 * size, y);
    pen.lineTo(x + 2 * size, y);
    pen.moveTo(x, y - 2 * size);
    pen.lineTo(x, y + 2 * size);
    pen.stroke();
  }

  /** What an empty sheet says. */
  teach(title, more) {
    put(this.hint, icon("pen"), h("b", { text: title }), h("span", { text: more }));
  }
}
