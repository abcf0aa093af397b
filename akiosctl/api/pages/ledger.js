// The ledger: records of a log, and whether they are in it, checked in this browser.

import { ask, query } from "/ask.js";
import { h, put } from "/dom.js";
import { clock, count, day } from "/format.js";
import { tell } from "/msgpack.js";
import { describe } from "/records.js";
import { verify } from "/verify.js";

const TITLES = { verified: "Verified", failed: "FAILED", unknown: "Not verified", working: "Verifying …" };
const MARKS = { good: "✓", bad: "✗", unknown: "?" };
const LIMIT = 50;

export async function show(page) {
  const log = page.params.get("log") || "";
  if (!/^(c-[0-9a-z]{12}|host)$/.test(log)) {
    await choose(page);
    return;
  }
  page.title(`Ledger of ${log}`);
  const before = Number(page.params.get("before")) || 0;
  const asked = page.params.get("index");
  const index = asked === null || !/^[0-9]{1,15}$/.test(asked) ? null : Number(asked);
  const front = before || (index === null ? 0 : index + 6);
  const view = await page.attempt(() => ask(`/api/v1/views/logs/${log}${query({ before: front || "", limit: LIMIT })}`));
  if (!view) {
    setTimeout(() => show(page), 3000);
    return;
  }
  page.link("");
  draw(page, view, index);
}

async function choose(page) {
  const found = await page.attempt(() => ask("/api/v1/views/cages?state=all&limit=100"));
  page.link("");
  if (!found) {
    setTimeout(() => choose(page), 3000);
    return;
  }
  const link = (log, words, more) => h("li", {}, h("a", { href: `/ledger${query({ log })}` }, words), h("span", { class: "quiet" }, more));
  put(page.main, h("h1", {}, "Ledger"),
    h("p", {}, "Everything that happened stands in logs that can only grow. Choose one; this browser checks it by itself."),
    h("ul", { class: "logs card" }, link("host", "host", " the host's own log, for root and administrators"),
      found.cages.map(({ cage }) => link(cage.cage, cage.cage, ` ${cage.name || ""} ${cage.user}, ${day(cage.started_ns)} ${clock(cage.started_ns).slice(0, 8)}`))));
}

function draw(page, view, index) {
  const verdict = h("section", { class: "card verdict-card", role: "status", "aria-labelledby": "verdict", tabindex: "-1" });
  const rows = view.records.map((record) => row(view, record, (event) => {
    event.preventDefault();
    page.keep({ log: view.log, before: page.params.get("before") || "", index: record.index });
    prove(record.index);
  }));
  const link = (words, before) => h("a", { href: `/ledger${query({ log: view.log, before })}` }, words);
  const first = view.records[0]?.index ?? 0;
  put(page.main,
    h("p", { class: "crumbs" }, h("a", { href: "/ledger" }, "Ledger"), " / ", view.log),
    h("h1", {}, view.log === "host" ? "The host's log" : `Log of ${view.log}`),
    h("p", { class: "quiet" }, `${count(view.size)} records. `, view.log === "host" ? null : h("a", { href: `/cage${query({ id: view.log })}` }, "See the cage")),
    verdict,
    h("details", { class: "card" }, h("summary", {}, "The checkpoint and its key"), h("pre", { tabindex: "0" }, view.checkpoint || "There is none yet."), h("p", { class: "quiet" }, "Key: ", h("code", { class: "whole" }, view.vkey)),
      h("p", { class: "quiet" }, "The key came from this server. Compare it with: akiosctl ledger keys")),
    h("table", { class: "board log" }, h("caption", { class: "hidden" }, "Records"), h("thead", {}, h("tr", {}, ["Number", "Time", "What", "Detail"].map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, rows)),
    h("div", { class: "pages" }, first + 1 < view.size ? link("Newer records", Math.min(view.size, first + 1 + LIMIT)) : null,
      view.next === null ? null : link("Earlier records", view.next)));
  prove.turn = 0;
  prove(index === null ? first : index);

  async function prove(number) {
    const mine = ++prove.turn;
    rows.forEach((one) => one.toggleAttribute("data-chosen", Number(one.dataset.index) === number));
    showVerdict(verdict, number, { state: "working", why: "", steps: [], entry: null });
    const found = await verify(view.log, number, view);
    if (mine === prove.turn) showVerdict(verdict, number, found);
  }
}

function row(view, record, onclick) {
  const [about, title, detail] = describe(record);
  const cell = (label, ...parts) => h("td", { "data-label": label }, ...parts);
  return h("tr", { "data-index": record.index, "data-about": about },
    h("th", { scope: "row" }, h("a", { href: `/ledger${query({ log: view.log, index: record.index })}`, "aria-label": `Verify record ${record.index}`, onclick }, `#${record.index}`)),
    cell("Time", h("time", {}, `${day(record.ts)} ${clock(record.ts)}`)), cell("What", h("span", { class: "what" }, title)), cell("Detail", h("span", { class: "detail" }, detail || "")));
}

function showVerdict(place, number, found) {
  place.dataset.state = found.state;
  put(place,
    h("h2", { id: "verdict" }, TITLES[found.state], h("span", { class: "quiet" }, ` record ${number}`)),
    found.why && found.state !== "failed" ? h("p", {}, found.why) : null,
    h("ol", { class: "steps" }, found.steps.map(([state, words]) => h("li", { "data-state": state }, h("span", { class: "mark", "aria-hidden": "true" }, MARKS[state]), words))),
    found.state === "failed" ? h("p", { class: "bad" }, "Find all that is damaged: ", h("code", {}, "sudo akiosctl ledger verify --all")) : null,
    found.entry instanceof Map ? h("details", {}, h("summary", {}, "What the proved bytes say"), h("dl", {}, [...found.entry].map(([name, value]) => [h("dt", {}, name), h("dd", {}, tell(value))]))) : null);
}
