// The decision board: what was allowed, denied, requested and redacted, and how often.

import { ask, query } from "/ask.js";
import { h, put, setText } from "/dom.js";
import { ago, count, moment, plural } from "/format.js";

const VERDICTS = { "": "All", denied: "Denied", allowed: "Allowed", requested: "Requested", redacted: "Redacted" };
const SORTS = { "": "Everything", name: "Names", file: "Files", call: "System calls", model: "Models", data: "Personal data" };
const SPANS = { "15m": ["Last 15 minutes", 15], "1h": ["Last hour", 60], "24h": ["Last day", 1440], "7d": ["Last 7 days", 10080], "": ["All of the time", 0], range: ["From … to …", 0] };
const NAMES = ["verdict", "sort", "rule", "text", "span", "from", "to", "order"];
const LIMIT = 100, AGAIN_MS = 300, REFRESH_MS = 5000;

const options = (table, chosen) => Object.entries(table).map(([value, title]) =>
  h("option", { value, selected: value === chosen }, Array.isArray(title) ? title[0] : title));

export function show(page) {
  const wanted = Object.fromEntries(NAMES.map((name) => [name, page.params.get(name) || ""]));
  wanted.cage = page.params.getAll("cage");
  wanted.without = page.params.getAll("without");
  let start = 0, turn = 0, timer = 0;

  const select = (name, label, table) => h("label", {}, label, h("select", { name, onchange: (event) => change({ [name]: event.target.value }) }, options(table, wanted[name])));
  const moments = ["from", "to"].map((name) => h("label", { class: "moment" }, name === "from" ? "From" : "To",
    h("input", { type: "datetime-local", name, value: wanted[name], onchange: (event) => change({ [name]: event.target.value }) })));
  const text = h("input", { type: "search", "data-search": true, "aria-label": "Find names, files and calls", placeholder: "Find (press /)", value: wanted.text, maxlength: 200,
    oninput: () => { clearTimeout(timer); timer = setTimeout(() => change({ text: text.value }), 300); } });
  const tags = h("div", { class: "tags" });
  const rules = h("div", { class: "rules", role: "group", "aria-label": "Rules" });
  const status = h("p", { class: "quiet", role: "status" });
  const body = h("tbody", {});
  const heads = ["Verdict", "What", "Rule", "Times", "First", "Last", "Filter"];
  const table = h("table", { class: "board" }, h("caption", { class: "hidden" }, "Decisions"),
    h("thead", {}, h("tr", {}, heads.map((name) => h("th", { scope: "col" }, name)))), body);
  const earlier = h("button", { type: "button", onclick: () => { start = Math.max(0, start - LIMIT); read(); } }, "Previous page");
  const later = h("button", { type: "button" }, "Next page");
  put(page.main, h("h1", {}, "Decisions"),
    h("div", { class: "filters", role: "group", "aria-label": "Filter" },
      select("verdict", "Verdict", VERDICTS), select("sort", "About", SORTS), select("span", "Time", SPANS), moments,
      select("order", "First", { "": "The latest", count: "The most frequent" }), text),
    tags, rules, status, table, h("div", { class: "pages" }, earlier, later));

  function change(more) {
    Object.assign(wanted, more);
    start = 0;
    page.keep(wanted);
    read();
  }

  function bounds() {
    if (wanted.span === "range") return ["from", "to"].map((name) => nanoseconds(Date.parse(wanted[name])));
    const minutes = (SPANS[wanted.span] || SPANS[""])[1];
    return [minutes ? nanoseconds(Date.now() - minutes * 60_000) : "", ""];
  }

  async function read() {
    const mine = ++turn;
    clearTimeout(read.timer);
    moments.forEach((one) => { one.hidden = wanted.span !== "range"; });
    showTags();
    const [from_ns, to_ns] = bounds();
    const found = await page.attempt(() => ask(`/api/v1/views/decisions${query({
      cage: wanted.cage, verdict: wanted.verdict, sort: wanted.sort, rule: wanted.rule, words: wanted.text,
      without: wanted.without, order: wanted.order, from_ns, to_ns, start, limit: LIMIT })}`));
    if (mine !== turn) return;
    if (found) {
      page.link("live");
      draw(found);
    }
    read.timer = setTimeout(readAgain, found && !found.complete ? AGAIN_MS : REFRESH_MS);
  }

  // While somebody reads or writes here, nothing moves under them.
  function readAgain() {
    const busy = document.hidden || page.main.querySelector("tbody :focus, details[open]");
    if (busy) read.timer = setTimeout(readAgain, REFRESH_MS);
    else read();
  }

  function draw(found) {
    const reading = found.complete ? "" : `Reading the logs: ${plural(found.records, "record")} so far … `;
    const left = found.left_out ? ` ${plural(found.left_out, "decision")} were too many to be told apart.` : "";
    setText(status, `${reading}${plural(found.matched, "kind")} of decisions in ${plural(found.records, "record")} of ${plural(found.logs, "cage")}.${left}`);
    put(rules, ...found.rules.slice(0, 10).map((one) => h("button", { type: "button", class: "chip", "aria-pressed": String(wanted.rule === one.rule), "data-verdict": one.verdict,
      onclick: () => change({ rule: wanted.rule === one.rule ? "" : one.rule }) }, one.rule, " ", h("span", { class: "number" }, count(one.count)))));
    put(body, ...found.decisions.map(row));
    if (!found.decisions.length) body.append(h("tr", {}, h("td", { colspan: heads.length, class: "quiet" }, found.complete ? "Nothing fits this filter." : "Nothing yet.")));
    earlier.hidden = start === 0;
    later.hidden = found.next === null;
    later.onclick = () => { start = found.next; read(); };
  }

  function row(one) {
    const cell = (label, ...parts) => h("td", { "data-label": label }, ...parts);
    return h("tr", { "data-verdict": one.verdict },
      cell("Verdict", h("span", { class: "verdict" }, one.verdict)),
      h("th", { scope: "row" }, h("span", { class: "subject" }, one.subject), h("span", { class: "quiet" }, " ", one.cages.map((cage) => [h("a", { href: `/cage${query({ id: cage })}` }, cage), " "]))),
      cell("Rule", one.rule), h("td", { "data-label": "Times", class: "number" }, count(one.count)),
      cell("First", h("time", { title: moment(one.first_ns) }, ago(one.first_ns))), cell("Last", h("time", { title: moment(one.last_ns) }, ago(one.last_ns))),
      cell("Filter", button("Only", `Only ${one.subject}`, () => { text.value = one.subject; change({ text: one.subject, verdict: one.verdict, sort: one.sort }); }),
        " ", button("Without", `Without ${one.subject}`, () => change({ without: [...wanted.without, one.subject].slice(-32) }))));
  }

  const button = (word, label, onclick) => h("button", { type: "button", class: "small", "aria-label": label, onclick }, word);

  function showTags() {
    const tag = (words, without) => h("button", { type: "button", class: "tag", "aria-label": `${words}: take this filter away`, onclick: without }, words, h("span", { "aria-hidden": "true" }, " ✕"));
    put(tags,
      ...wanted.cage.map((cage) => tag(`cage ${cage}`, () => change({ cage: wanted.cage.filter((one) => one !== cage) }))),
      ...(wanted.rule ? [tag(`rule ${wanted.rule}`, () => change({ rule: "" }))] : []),
      ...wanted.without.map((name) => tag(`without ${name}`, () => change({ without: wanted.without.filter((one) => one !== name) }))));
  }

  page.keep(wanted);
  read();
}

// Milliseconds as nanoseconds, as text: a number would lose its last digits.
const nanoseconds = (ms) => (Number.isFinite(ms) && ms > 0 ? `${Math.round(ms)}000000` : "");
