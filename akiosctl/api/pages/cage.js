// One cage: what it uses, its money, its posture, and what happened, as it happens.

import { ask, query } from "/ask.js";
import { curve, makeBar } from "/chart.js";
import { h, put, setText } from "/dom.js";
import { ago, clock, command, count, day, duration, moment, plural, size, usd } from "/format.js";
import { describe } from "/records.js";
import { follow } from "/stream.js";

const MOST_ITEMS = 400;
const REFRESH_MS = 2000;
const WIDE = "(min-width: 64rem)";

export async function show(page) {
  const id = page.params.get("id") || "";
  if (!/^c-[0-9a-z]{12}$/.test(id)) {
    put(page.main, h("h1", {}, "Cage"), h("p", {}, "No cage is named. ", h("a", { href: "/" }, "Choose one.")));
    return;
  }
  const view = new View(page, id);
  await view.open();
}

class View {
  constructor(page, id) {
    this.page = page;
    this.id = id;
    this.all = page.params.get("all") === "1";
    this.calls = [];
    this.closeStream = () => undefined;
  }

  async open() {
    const found = await this.page.attempt(() => ask(this.address({})));
    if (!found) {
      setTimeout(() => this.open(), REFRESH_MS);
      return;
    }
    this.draw(found);
  }

  address(more) {
    return `/api/v1/views/cages/${this.id}${query({ notable: !this.all, limit: 100, ...more })}`;
  }

  draw(found) {
    const { cage } = found;
    this.page.title(cage.name || cage.cage);
    this.heading = h("h1", {}, cage.name || cage.cage);
    this.state = h("span", { class: "state" });
    this.about = h("p", { class: "quiet" });
    this.bars = Object.fromEntries(["CPU", "Memory", "Disk", "Processes"].map((name) => [name, makeBar(name)]));
    this.money = h("section", { class: "card", "aria-labelledby": "money" });
    this.timeline = h("ol", { class: "timeline" });
    this.more = h("button", { type: "button", onclick: () => this.page.attempt(() => this.readOlder()) }, "Show earlier records");
    this.note = h("p", { class: "quiet" });
    const everything = h("input", { type: "checkbox", id: "all", onchange: (event) => this.choose(event.target.checked) });
    everything.checked = this.all;
    put(this.page.main,
      h("p", { class: "crumbs" }, h("a", { href: "/" }, "Cages"), " / ", cage.cage),
      h("div", { class: "heading" }, this.heading, this.state),
      h("code", { class: "command whole", tabindex: "0", role: "group", "aria-label": "Command" }, command(cage.argv) || "(programs are started in it)"),
      this.about,
      h("div", { class: "columns" },
        h("section", { class: "card", "aria-labelledby": "use" }, h("h2", { id: "use" }, "What it uses"),
          h("div", { class: "measures" }, Object.values(this.bars).map((bar) => bar.root)), this.usedNote = h("p", { class: "quiet" })),
        this.money),
      posture(found),
      h("section", { "aria-labelledby": "happened" },
        h("div", { class: "heading" }, h("h2", { id: "happened" }, "What happened"),
          h("span", { class: "links" },
            h("a", { href: `/decisions${query({ cage: cage.cage })}` }, "Decisions"), " ",
            h("a", { href: `/ledger${query({ log: cage.cage })}` }, "Prove it"))),
        h("p", {}, everything, " ", h("label", { for: "all" }, "Also calls and files that nobody denied")),
        this.timeline, this.more, this.note));
    this.last = found.size - 1;
    this.next = found.next;
    this.append(found.records);
    this.update(found.cage, found.use, found.money, found.at_ns);
    this.begin(cage);
  }

  choose(all) {
    this.page.keep({ id: this.id, all: all ? "1" : "" });
    this.all = all;
    this.closeStream();
    clearInterval(this.timer);
    this.calls = [];
    this.open();
  }

  begin(cage) {
    if (cage.ended_ns) {
      this.page.link("");
      return;
    }
    const from = `${this.id}:${Math.max(0, this.last)}`;
    this.closeStream = follow(
      (id) => `/api/v1/events${query({ cage: this.id, notable: !this.all, after: id || from })}`,
      { record: (record) => this.happened(record), gap: (gap) => this.missed(gap) },
      (problem) => { this.page.say(problem); this.page.main.classList.toggle("stale", Boolean(problem)); });
    this.timer = setInterval(() => { if (!document.hidden) this.refresh(); }, REFRESH_MS);
  }

  // The numbers; what happened comes by itself.
  async refresh() {
    const found = await ask(`/api/v1/views/cages${query({ state: "all", words: this.id, limit: 1 })}`).catch(() => null);
    const one = found && found.cages.find(({ cage }) => cage.cage === this.id);
    if (!one) return;
    this.update(one.cage, one.use, null, found.at_ns);
    if (one.cage.ended_ns) {
      clearInterval(this.timer);
      this.closeStream();
      this.open();
    }
  }

  update(cage, use, money, at) {
    const ended = cage.ended_ns;
    setText(this.state, ended ? "ended" : cage.standing ? `stands, ${cage.state}` : cage.state);
    this.state.dataset.state = ended ? "ended" : cage.state;
    setText(this.about, [cage.user, `in ${cage.workspace}`, `since ${moment(cage.started_ns)}`,
      ended ? `${cage.reason || "exited"}, exit status ${cage.exit_code}, ${ago(ended)}` : `for ${duration(Date.now() * 1e6 - cage.started_ns)}`,
      ended && cage.changes && `its changes wait: akiosctl diff ${cage.cage}`].filter(Boolean).join(" · "));
    if (use) this.showUse(use, at);
    else {
      for (const bar of Object.values(this.bars)) bar.root.hidden = true;
      setText(this.usedNote, `It has ended, and uses nothing.${cage.output ? ` ${size(cage.output)} of its output are kept: akiosctl logs ${cage.cage}` : ""}`);
    }
    if (money) this.known = money;
    this.showMoney({ ...this.known, usd_micro: cage.usd_micro, calls: cage.calls, reserved_usd_micro: use ? use.reserved_usd_micro : 0 });
  }

  showUse(use, at) {
    const before = this.before;
    const cpu = before && at > before.at ? (100 * (use.cpu_ns - before.cpu)) / (at - before.at) : (100 * use.cpu_ns) / Math.max(1, use.wall_ns);
    this.before = { at, cpu: use.cpu_ns };
    const beside = (used, limit, write) => (limit ? `${write(used)} of ${write(limit)}` : `${write(used)}, no limit`);
    this.bars.CPU.set(cpu, use.cpu_percent, `${Math.round(cpu)} %${use.cpu_percent ? ` of ${use.cpu_percent} %` : ", no limit"}`);
    this.bars.Memory.set(use.memory, use.memory_limit, beside(use.memory, use.memory_limit, size));
    this.bars.Disk.set(use.disk, use.disk_limit, beside(use.disk, use.disk_limit, size));
    this.bars.Processes.set(use.pids, use.pids_limit, beside(use.pids, use.pids_limit, count));
    setText(this.usedNote, `${duration(use.cpu_ns)} of CPU time so far. ${plural(use.denials, "denial")}, ${plural(use.redactions, "redaction")}.`);
  }

  showMoney(money) {
    const bar = makeBar("Spent"), limit = money.limit_usd_micro;
    const spent = money.usd_micro + money.reserved_usd_micro + (money.shared_usd_micro || 0);
    bar.set(spent, limit, limit ? `${usd(spent)} of ${usd(limit)}` : usd(spent));
    const points = this.calls.map((call) => [call.ts, call.total_usd_micro || 0]);
    const parts = [h("h2", { id: "money" }, "Money"), bar.root];
    if (points.length > 1) {
      const high = Math.max(...points.map(([, y]) => y));
      parts.push(h("div", { class: "burn" }, curve([[points[0][0], points[0][1] - this.calls[0].usd_micro], ...points], { high, steps: true, label: `Spent over time: up to ${usd(high)}` })),
        h("p", { class: "quiet" }, `${clock(points[0][0]).slice(0, 8)} to ${clock(points.at(-1)[0]).slice(0, 8)}, ${plural(points.length, "call")} shown`));
    }
    if (money.shared_calls) parts.push(h("p", {}, `${usd(money.shared_usd_micro)} of it was spent by workflows for this cage.`));
    if (money.reserved_usd_micro) parts.push(h("p", {}, `${usd(money.reserved_usd_micro)} of it is held for open calls.`));
    if (money.ending) parts.push(h("p", { class: "bad" }, `The cage ends: ${money.ending}`));
    if (money.models?.length) {
      parts.push(h("table", {}, h("thead", {}, h("tr", {}, ["Model", "Calls", "Spent", "Tokens"].map((name, at) => h("th", { scope: "col", class: at ? "number" : null }, name)))),
        h("tbody", {}, money.models.slice(0, 20).map((one) => h("tr", {}, h("td", {}, one.model), h("td", { class: "number" }, count(one.calls)),
          h("td", { class: "number" }, usd(one.usd_micro)), h("td", { class: "number" }, `${count(one.input_tokens)} in, ${count(one.output_tokens)} out`))))));
    } else parts.push(h("p", { class: "quiet" }, money.calls ? plural(money.calls, "call") : "It called no model."));
    put(this.money, ...parts);
  }

  happened(record) {
    this.last = record.index;
    this.remember(record, true);
    this.timeline.prepend(item(record));
    while (this.timeline.children.length > MOST_ITEMS) {
      this.timeline.lastElementChild.remove();
      this.cut = true;
    }
    this.tellMore();
  }

  missed({ gap: [start, stop] }) {
    this.timeline.prepend(h("li", { class: "event", "data-about": "bad" }, h("span", { class: "what" }, `${count(stop - start)} records came too fast to be shown`),
      h("span", { class: "detail" }, `records ${start} to ${stop - 1}; open this page again to read them`)));
  }

  append(records) {
    for (const record of records) {
      this.remember(record, false);
      this.timeline.append(item(record));
    }
    this.tellMore();
  }

  remember(record, newest) {
    if (record.kind !== "llm_call") return;
    if (newest) this.calls.push(record);
    else this.calls.unshift(record);
    if (this.calls.length > MOST_ITEMS) this.calls.shift();
  }

  tellMore() {
    this.more.hidden = this.next === null || this.cut || this.timeline.children.length >= MOST_ITEMS;
    const rest = this.cut || this.timeline.children.length >= MOST_ITEMS;
    setText(this.note, rest ? `The newest ${MOST_ITEMS} are shown. All of them: akiosctl ledger show ${this.id}`
      : this.next === null ? "This is where its log begins." : `Looked through from record ${count(this.next)} on.`);
  }

  async readOlder() {
    const found = await ask(this.address({ before: this.next }));
    this.next = found.next;
    this.append(found.records);
  }
}

function item(record) {
  const [about, title, detail] = describe(record);
  const date = day(record.ts) === day(Date.now() * 1e6) ? "" : day(record.ts);
  return h("li", { class: "event", "data-about": about },
    h("time", { datetime: new Date(record.ts / 1e6).toISOString() }, date && h("span", { class: "date" }, date), clock(record.ts)),
    h("span", { class: "what" }, title), h("span", { class: "detail" }, detail || ""),
    h("a", { class: "proof", href: `/ledger${query({ log: record.log, index: record.index })}`, title: "Prove that this record is in the log" }, `#${record.index}`));
}

function posture({ posture: layers, degraded }) {
  const less = layers.filter((one) => one.status !== "enforced").length;
  const words = !layers.length ? "Its first records are gone, and with them its posture." :
    less ? `${less} of ${layers.length} layers hold less than was asked for.` : `All ${layers.length} layers are enforced, read back before the agent started.`;
  return h("section", { class: "card posture", "aria-labelledby": "posture" }, h("h2", { id: "posture" }, "Posture"),
    h("p", { class: less || degraded ? "bad" : "good" }, words),
    h("details", { open: less > 0 || matchMedia(WIDE).matches }, h("summary", {}, "Line by line"),
      h("dl", {}, layers.map((one) => h("div", {}, h("dt", { "data-status": one.status }, one.layer), h("dd", {}, `${one.status}: ${one.detail}`))))));
}
