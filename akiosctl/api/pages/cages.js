// The first view: cages as they are now.

import { ask, query } from "/ask.js";
import { curve, makeBar } from "/chart.js";
import { h, put, setText } from "/dom.js";
import { ago, command, count, duration, plural, size, usd } from "/format.js";
import { follow } from "/stream.js";

const STATES = { running: "Running", standing: "Standing", ended: "Ended", waiting: "Changes wait", all: "All" };
const MOST_SAMPLES = 120;
const LIMIT = 50;

// What a cage used at some moments, to tell how fast.  Kept for cages that are shown only.
class Samples {
  constructor() { this.kept = []; }

  add(at, use, cage) {
    this.kept.push({ at, cpu: use.cpu_ns, spent: cage.usd_micro });
    if (this.kept.length > MOST_SAMPLES) this.kept.shift();
  }

  // Percent of one CPU, over the last seconds; since the start where nothing was seen before.
  cpu(use) {
    const [before, now] = this.kept.slice(-2);
    if (now === undefined) return (100 * use.cpu_ns) / Math.max(1, use.wall_ns);
    return Math.max(0, (100 * (now.cpu - before.cpu)) / Math.max(1, now.at - before.at));
  }

  perMinute() {
    const first = this.kept[0], last = this.kept.at(-1);
    const span = last.at - first.at;
    return span < 5e9 ? 0 : ((last.spent - first.spent) * 60e9) / span;
  }

  left(budget) {
    return this.kept.map(({ at, spent }) => [at, Math.max(0, budget - spent)]);
  }
}

class Row {
  constructor() {
    this.samples = new Samples();
    this.dot = h("span", { class: "dot" });
    this.state = h("span", { class: "state" });
    this.name = h("a", { class: "title" });
    this.command = h("code", { class: "command" });
    this.about = h("p", { class: "quiet about" });
    this.bars = Object.fromEntries(["CPU", "Memory", "Disk", "Processes"].map((name) => [name, makeBar(name)]));
    this.use = h("div", { class: "measures" }, Object.values(this.bars).map((bar) => bar.root));
    this.burn = makeBar("Money");
    this.pace = h("p", { class: "quiet pace" });
    this.curve = h("div", { class: "burn" });
    this.money = h("div", { class: "money" }, this.burn.root, this.curve, this.pace);
    this.denials = h("a", { class: "figure" });
    this.redactions = h("a", { class: "figure" });
    this.root = h("li", { class: "card cage" },
      h("div", { class: "who" }, h("h2", {}, this.dot, this.name, this.state), this.command, this.about,
        this.figures = h("div", { class: "figures" }, this.denials, this.redactions)),
      this.use, this.money);
  }

  update({ cage, use }, at) {
    setText(this.name, cage.name || cage.cage);
    this.name.href = `/cage${query({ id: cage.cage })}`;
    setText(this.command, command(cage.argv) || "(programs are started in it)");
    this.root.dataset.state = cage.ended_ns ? "ended" : cage.state;
    setText(this.state, stateWords(cage));
    setText(this.about, aboutWords(cage));
    this.use.hidden = this.figures.hidden = !use;
    this.showMoney(cage, use, at);
    if (use) this.showUse(cage, use);
  }

  showUse(cage, use) {
    const cpu = this.samples.cpu(use);
    this.bars.CPU.set(cpu, use.cpu_percent, `${Math.round(cpu)} %${use.cpu_percent ? ` of ${use.cpu_percent} %` : ", no limit"}`);
    this.bars.Memory.set(use.memory, use.memory_limit, beside(use.memory, use.memory_limit, size));
    this.bars.Disk.set(use.disk, use.disk_limit, beside(use.disk, use.disk_limit, size));
    this.bars.Processes.set(use.pids, use.pids_limit, beside(use.pids, use.pids_limit, count));
    showFigure(this.denials, use.denials, "denial", cage.cage, "denied");
    showFigure(this.redactions, use.redactions, "redaction", cage.cage, "redacted");
  }

  showMoney(cage, use, at) {
    if (!use) {
      this.burn.set(0, 0, cage.calls ? `${usd(cage.usd_micro)} for ${plural(cage.calls, "call")}` : "nothing spent");
      return;
    }
    this.samples.add(at, use, cage);
    const budget = use.budget_usd_micro, spent = cage.usd_micro + use.reserved_usd_micro;
    this.burn.set(spent, budget, beside(spent, budget, usd));
    const pace = this.samples.perMinute(), left = Math.max(0, budget - spent);
    const lasts = budget ? ` · ${usd(left)} left, for ${duration((left / pace) * 60e9)}` : "";
    setText(this.pace, pace > 0 ? `${usd(Math.round(pace))} a minute${lasts}` : `${plural(cage.calls, "call")} to models`);
    this.curve.hidden = !budget || pace <= 0;
    if (!this.curve.hidden) {
      put(this.curve, curve(this.samples.left(budget), { high: budget, steps: true, label: "Money left, since this page was opened" }));
    }
  }
}

function beside(used, limit, write) {
  return limit ? `${write(used)} of ${write(limit)}` : `${write(used)}, no limit`;
}

function showFigure(link, number, word, cage, verdict) {
  setText(link, plural(number, word));
  link.href = `/decisions${query({ cage, verdict })}`;
  link.dataset.any = number > 0;
}

function stateWords(cage) {
  if (cage.ended_ns) return cage.standing ? "down" : "ended";
  if (cage.standing) return cage.state === "running" ? `stands, ${plural(cage.programs, "program")}` : `stands, ${cage.state}`;
  return cage.detached ? `${cage.state}, detached` : cage.state;
}

function aboutWords(cage) {
  const parts = [cage.user];
  if (cage.name) parts.push(cage.cage);
  if (cage.ended_ns) parts.push(cage.reason || "exited", `ended ${ago(cage.ended_ns)}`);
  else parts.push(`for ${duration(Date.now() * 1e6 - cage.started_ns)}`);
  if (cage.ended_ns && cage.changes) parts.push("its changes wait to be committed");
  if (cage.outdated) parts.push("/usr changed since: restart it");
  return parts.join(" · ");
}

export function show(page) {
  const rows = new Map();
  let stop = () => undefined, older = [];
  const state = () => (page.params.get("state") in STATES ? page.params.get("state") : "running");
  const words = () => (page.params.get("words") || "").slice(0, 100);

  const chips = Object.entries(STATES).map(([name, title]) =>
    h("button", { type: "button", class: "chip", onclick: () => choose(name, words()) }, title, " ", h("span", { class: "number" })));
  const search = h("input", { type: "search", "data-search": true, "aria-label": "Find cages by name, user or command", placeholder: "Find (press /)", value: words(), maxlength: 100,
    oninput: () => { clearTimeout(show.timer); show.timer = setTimeout(() => choose(state(), search.value.trim()), 300); } });
  const list = h("ul", { class: "cages" });
  const totals = h("p", { class: "quiet totals" });
  const empty = h("div", { class: "card empty", hidden: true });
  const rest = h("p", { class: "quiet" });
  const more = h("button", { type: "button", hidden: true }, "Show older ones");
  put(page.main,
    h("div", { class: "heading" }, h("h1", {}, "Cages"), totals),
    h("div", { class: "filters", role: "group", "aria-label": "Filter" }, chips, search),
    empty, list, rest, more);

  function choose(name, text) {
    page.keep({ state: name === "running" ? "" : name, words: text });
    rows.clear();
    older = [];
    put(list);
    begin();
  }

  function begin() {
    stop();
    const where = { state: state(), words: words(), limit: LIMIT };
    stop = follow(() => `/api/v1/views/cages/live${query(where)}`, { cages: draw }, (problem) => {
      page.say(problem);
      page.main.classList.toggle("stale", Boolean(problem));
    });
  }

  function draw(found) {
    Object.keys(STATES).forEach((name, at) => {
      chips[at].setAttribute("aria-pressed", name === state());
      const number = name === "all" ? found.counts.running + found.counts.ended : found.counts[name];
      setText(chips[at].querySelector(".number"), count(number));
    });
    const { usd_micro, denials, redactions } = found.totals;
    setText(totals, found.counts.running ? `Those that run: ${usd(usd_micro)} spent, ${plural(denials, "denial")}, ${plural(redactions, "redaction")}` : "");
    const shown = [...found.cages, ...older];
    const present = new Set(shown.map(({ cage }) => cage.cage));
    for (const [id, row] of rows) {
      if (!present.has(id)) { row.root.remove(); rows.delete(id); }
    }
    shown.forEach((one, at) => {
      let row = rows.get(one.cage.cage);
      if (!row) rows.set(one.cage.cage, (row = new Row()));
      row.update(one, found.at_ns);
      // Moved only where it must be: an element that is moved loses the focus.
      if (list.children[at] !== row.root) list.insertBefore(row.root, list.children[at] || null);
    });
    showEmpty(shown.length, found.counts);
    const unseen = found.matched - shown.length;
    setText(rest, shown.length ? `${plural(shown.length, "cage")} shown${unseen > 0 ? `, ${count(unseen)} older` : ""}` : "");
    more.hidden = unseen <= 0 || shown.length >= 4 * LIMIT;
    more.onclick = () => page.attempt(() => readOlder(older.at(-1) ? more.next : found.next));
  }

  async function readOlder(cursor) {
    const found = await ask(`/api/v1/views/cages${query({ state: state(), words: words(), limit: LIMIT, cursor })}`);
    more.next = found.next;
    older = [...older, ...found.cages];
  }

  function showEmpty(number, counts) {
    empty.hidden = number > 0;
    if (number) return;
    const filtered = words() || state() !== "running";
    put(empty,
      h("h2", {}, filtered ? "No cage fits" : "No cage runs"),
      h("p", {}, filtered ? "Nothing has these words or is in this state." : "Start one, and it is here within a second:"),
      filtered ? null : h("p", {}, h("code", {}, "akiosctl run -- python agent.py")),
      counts.ended && !filtered ? h("p", {}, h("a", { href: "/?state=ended" }, `See the ${plural(counts.ended, "cage")} that ended`)) : null);
  }

  begin();
}
