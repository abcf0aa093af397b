// Bars beside their limits, and small curves.  Each says its numbers in words, too.

import { h, setText, svg } from "/dom.js";

const LEVELS = [[0.9, "high"], [0.75, "near"], [0, "fine"]];

// A bar that says how much of a limit is used.
export function makeBar(label) {
  const words = h("span", { class: "words" });
  const inner = h("span", { class: "inner" });
  const bar = h("span", { class: "bar", role: "meter", "aria-label": label, "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": 0 }, inner);
  const root = h("div", { class: "measure" }, h("span", { class: "name" }, label), words, bar);
  return {
    root,
    // limit 0: there is none.
    set(used, limit, text) {
      const part = limit ? Math.min(1, used / limit) : 0;
      setText(words, text);
      inner.style.setProperty("--part", part.toFixed(4));
      root.dataset.level = LEVELS.find(([from]) => part >= from)[1];
      root.toggleAttribute("data-open", !limit);
      bar.setAttribute("aria-valuenow", Math.round(part * 100));
      bar.setAttribute("aria-valuetext", text);
    },
  };
}

const WIDTH = 240, HEIGHT = 44;

// Points [x, y] as a curve from the left to the right; stays what it is in between where it steps.
export function curve(points, { low = 0, high = 1, steps = false, label = "" }) {
  const root = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", class: "curve", role: "img", "aria-label": label });
  if (points.length < 2) return root;
  const first = points[0][0], span = points.at(-1)[0] - first || 1, rise = high - low || 1;
  const place = ([x, y]) => [((x - first) / span) * WIDTH, HEIGHT - 2 - ((y - low) / rise) * (HEIGHT - 4)];
  let line = "", before = null;
  for (const point of points) {
    const [x, y] = place(point).map((value) => value.toFixed(1));
    line += before === null ? `M${x} ${y}` : steps ? `H${x}V${y}` : `L${x} ${y}`;
    before = y;
  }
  root.append(
    svg("path", { class: "area", d: `${line}L${WIDTH} ${HEIGHT}L0 ${HEIGHT}Z` }),
    svg("path", { class: "line", d: line, "vector-effect": "non-scaling-stroke" }),
  );
  return root;
}
