// A workflow as a graph: steps as boxes, what they need as lines, drawn by this code alone.
//
// Ranks stand below each other; within a rank a step stands near what it needs.  A box is a button:
// it has a name that says its state in words, and a mark whose shape does.

import { h, setText, svg } from "/dom.js";

const WIDE = 208, HIGH = 62, GAP_X = 26, GAP_Y = 46, EDGE = 14;
const TEXT_X = 42, ROOM = WIDE - TEXT_X - 12;

// State -> what its mark shows.
export const MARKS = {
  waiting: "○", running: "◐", asking: "?", "trying again": "↻", done: "✓", failed: "✗",
  "not heard of": "!", "left out": "–", "not begun": "·",
};

// A line through ranks passes them at a place of its own: { rank, x }.
export function place(order, needs, perRow) {
  const rows = [];
  for (const rank of order) {
    for (let at = 0; at < rank.length; at += perRow) rows.push(rank.slice(at, at + perRow));
  }
  const at = new Map();
  const middle = (name) => {
    const before = (needs.get(name) || []).filter((one) => at.has(one));
    return before.length ? before.reduce((sum, one) => sum + at.get(one).x, 0) / before.length : null;
  };
  const widest = Math.max(1, ...rows.map((row) => row.length));
  const width = 2 * EDGE + widest * WIDE + (widest - 1) * GAP_X;
  rows.forEach((row, number) => {
    const wanted = new Map(row.map((name, index) => [name, middle(name) ?? index * (WIDE + GAP_X)]));
    row.sort((a, b) => wanted.get(a) - wanted.get(b));
    const own = row.length * WIDE + (row.length - 1) * GAP_X;
    row.forEach((name, index) => at.set(name, {
      x: (width - own) / 2 + index * (WIDE + GAP_X), y: EDGE + number * (HIGH + GAP_Y), row: number, index,
    }));
  });
  return { at, rows, width, height: 2 * EDGE + rows.length * HIGH + Math.max(0, rows.length - 1) * GAP_Y };
}

// From the lower edge of what is needed to the upper edge of what needs it; beside the boxes where
// rows lie between.
function path(from, to, width, lane) {
  const x1 = from.x + WIDE / 2, y1 = from.y + HIGH, x2 = to.x + WIDE / 2, y2 = to.y;
  const half = GAP_Y / 2;
  if (to.row - from.row <= 1) return `M${x1} ${y1}C${x1} ${y1 + half} ${x2} ${y2 - half} ${x2} ${y2}`;
  const side = x1 + x2 > width ? width - 4 - lane * 4 : 4 + lane * 4;
  return `M${x1} ${y1}C${x1} ${y1 + half} ${side} ${y1 + half / 2} ${side} ${y1 + half + 14}V${y2 - half - 14}C${side} ${y2 - half / 2} ${x2} ${y2 - half} ${x2} ${y2}`;
}

const pen = document.createElement("canvas").getContext("2d");
const NAME = "650 14px", WORD = "12.5px";  // as in page.css

// What of a text has room in a box.  The middle goes: names differ at their ends, too.
export function fit(text, font) {
  pen.font = `${font} ${getComputedStyle(document.body).fontFamily}`;
  const letters = [...text];
  const cut = (kept) => letters.length <= kept ? text
    : `${letters.slice(0, Math.ceil(kept / 2)).join("")}…${letters.slice(letters.length - Math.floor(kept / 2)).join("")}`;
  const fits = (kept) => pen.measureText(cut(kept)).width <= ROOM;
  let least = 0, most = Math.min(letters.length, 200);
  if (fits(letters.length)) return text;
  while (least < most) {
    const middle = Math.ceil((least + most) / 2);
    if (fits(middle)) least = middle;
    else most = middle - 1;
  }
  return cut(least);
}

export class Graph {
  constructor(choose) {
    this.choose = choose;
    this.boxes = new Map();
    this.lines = [];
    this.root = h("div", { class: "graph", role: "group", "aria-label": "Steps, each below what it needs" });
    this.shape = "";
    this.move = this.move.bind(this);
  }

  // As many beside each other as the place has room for.
  perRow() {
    const room = this.root.clientWidth || 600;
    return Math.max(1, Math.min(4, Math.floor((room - 2 * EDGE + GAP_X) / (WIDE + GAP_X))));
  }

  draw(run) {
    const order = run.order.length ? run.order : run.steps.map((step) => [step.name]);
    const per = this.perRow(), shape = JSON.stringify([order, per]);
    if (shape !== this.shape) {
      this.shape = shape;
      this.lay(run, order, per);
    }
    for (const step of run.steps) this.update(step, run);
    for (const line of this.lines) {
      const from = this.states.get(line.from), to = this.states.get(line.to);
      line.element.dataset.state = ["running", "asking", "trying again"].includes(to) ? "live" : from === "done" ? "passed" : "idle";
    }
  }

  lay(run, order, per) {
    const needs = new Map(run.steps.map((step) => [step.name, step.needs]));
    const { at, width, height } = place(order, needs, per);
    const chosen = document.activeElement?.dataset?.step;
    const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, class: "flow" });
    this.lines = [];
    this.boxes.clear();
    this.states = new Map();
    let lane = 0;
    for (const step of run.steps) {
      for (const need of step.needs) {
        if (!at.has(need) || !at.has(step.name)) continue;
        const far = at.get(step.name).row - at.get(need).row > 1;
        const element = svg("path", { class: "edge", d: path(at.get(need), at.get(step.name), width, far ? lane++ % 3 : 0) });
        this.lines.push({ from: need, to: step.name, element });
        root.append(element);
      }
    }
    for (const step of run.steps) if (at.has(step.name)) root.append(this.box(step, at.get(step.name)));
    this.root.replaceChildren(root);
    if (chosen) this.boxes.get(chosen)?.group.focus();
  }

  box(step, { x, y }) {
    const group = svg("g", { class: "step", transform: `translate(${x} ${y})`, tabindex: 0, role: "button", "data-step": step.name,
      onclick: () => this.choose(step.name), onkeydown: this.move });
    const mark = svg("text", { class: "mark", x: 22, y: 37, "text-anchor": "middle" });
    const state = svg("text", { class: "word", x: TEXT_X, y: 47 });
    group.append(
      svg("rect", { class: "body", width: WIDE, height: HIGH, rx: 10 }),
      svg("circle", { class: "ring", cx: 22, cy: 31, r: 12 }), mark, " ",
      svg("text", { class: "name", x: TEXT_X, y: 26 }, fit(step.name, NAME)), " ", state);
    // Where the name was cut, the pointer shows all of it.
    const title = svg("title", {}, step.name);
    group.prepend(title);
    this.boxes.set(step.name, { group, mark, state });
    return group;
  }

  update(step, run) {
    const box = this.boxes.get(step.name);
    if (!box) return;
    this.states.set(step.name, step.state);
    const all = step.instances.length, done = step.instances.filter((one) => one.state === "done").length;
    const many = step.matrix.length && all ? ` · ${done} of ${all}` : "";
    const words = `${step.state}${many || (step.agent ? ` · ${step.agent}` : "")}`;
    box.group.dataset.state = step.state;
    // As it is read on the screen, and more.
    const label = `${MARKS[step.state]} ${step.name} ${words}${step.needs.length ? `; needs ${step.needs.join(", ")}` : ""}`;
    if (box.group.getAttribute("aria-label") !== label) {
      box.group.setAttribute("aria-label", label);
      setText(box.mark, MARKS[step.state]);
      setText(box.state, fit(words, WORD));
    }
    box.group.setAttribute("aria-pressed", String(run.chosen === step.name));
  }

  // Enter and space choose; arrows go to the next box that way.
  move(event) {
    const name = event.currentTarget.dataset.step;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.choose(name);
      return;
    }
    const way = { ArrowDown: [0, 1], ArrowUp: [0, -1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] }[event.key];
    if (!way) return;
    event.preventDefault();
    const here = event.currentTarget.getBoundingClientRect();
    let best = null, least = Infinity;
    for (const { group } of this.boxes.values()) {
      const there = group.getBoundingClientRect();
      const dx = there.x - here.x, dy = there.y - here.y;
      const ahead = dx * way[0] + dy * way[1], aside = Math.abs(dx * way[1]) + Math.abs(dy * way[0]);
      if (ahead > 4 && ahead + 2 * aside < least) { least = ahead + 2 * aside; best = group; }
    }
    best?.focus();
  }
}
