// Runs of workflows: the list, and one run as a graph that moves.

import { query } from "/ask.js";
import { h, put, setText } from "/dom.js";
import { ago, count, duration, moment, plural, usd } from "/format.js";
import { Graph, MARKS } from "/graph.js";
import { follow } from "/stream.js";

const STATES = { all: "All", "going on": "Going on", success: "Success", failed: "Failed", unfinished: "Unfinished" };
const RUN_MARKS = { "going on": "◐", success: "✓", failed: "✗", unfinished: "!" };
const WORTH = ["asking", "not heard of", "running", "trying again", "failed"];
const LIMIT = 50, TICK_MS = 1000;

export function show(page) {
  const run = page.params.get("run");
  if (run && /^w-[0-9a-f]{10}$/.test(run)) new OneRun(page, run).open();
  else showList(page);
}

const address = (run, step = "") => `/workflows${query({ run, step })}`;
const stateMark = (state) => h("span", { class: "mark", "aria-hidden": "true" }, RUN_MARKS[state]);

// ---- the list

function showList(page) {
  let wanted = page.params.get("state") || "all", stop = () => undefined;
  const chips = Object.entries(STATES).map(([name, title]) => {
    const number = h("span", { class: "number" });
    return { name, number, button: h("button", { type: "button", class: "chip", onclick: () => choose(name) }, title, " ", number) };
  });
  const status = h("p", { class: "quiet", role: "status" });
  const list = h("ul", { class: "cages runs" });
  put(page.main, h("h1", {}, "Workflows"),
    h("div", { class: "filters", role: "group", "aria-label": "Which runs" }, chips.map((one) => one.button)), status, list);

  function choose(name) {
    wanted = name in STATES ? name : "all";
    page.keep({ state: wanted === "all" ? "" : wanted });
    for (const one of chips) one.button.setAttribute("aria-pressed", String(one.name === wanted));
    stop();
    stop = follow(() => `/api/v1/views/workflows/live${query({ state: wanted, limit: LIMIT })}`, { runs: draw },
      (problem) => { page.say(problem); page.main.classList.toggle("stale", Boolean(problem)); });
  }

  function draw(found) {
    const all = Object.values(found.counts).reduce((sum, one) => sum + one, 0);
    for (const one of chips) setText(one.number, count(one.name === "all" ? all : found.counts[one.name.replace(" ", "_")]));
    const more = found.matched > found.runs.length ? ` The newest ${found.runs.length} are shown; all of them: akiosctl output list --all` : "";
    setText(status, found.matched ? `${plural(found.matched, "run")}.${more}` : "");
    // Whoever stands on a link stays there.
    const here = document.activeElement?.getAttribute?.("href");
    put(list, ...found.runs.map(row));
    if (!found.matched) list.append(nothing(wanted));
    if (here) [...list.querySelectorAll("a")].find((one) => one.getAttribute("href") === here)?.focus();
  }

  choose(wanted);
}

function nothing(wanted) {
  return h("li", { class: "card empty" }, h("h2", {}, wanted === "all" ? "No workflow was run yet" : `No run is ${STATES[wanted].toLowerCase()}`),
    h("p", {}, "Start one: ", h("code", {}, "akiosctl workflow run FILE")));
}

function row(one) {
  const ended = one.ended_ns, over = one.done + one.failed;
  const steps = one.steps ? `${over} of ${plural(one.steps, "step")}` : plural(over, "step");
  const part = h("span", { class: "inner" });
  part.style.setProperty("--part", (one.steps ? over / one.steps : 0).toFixed(3));
  return h("li", { class: "card run", "data-state": one.state },
    h("div", { class: "who" },
      h("h2", {}, h("span", { class: "badge", "data-state": one.state }, stateMark(one.state), one.state), h("a", { class: "title", href: address(one.run) }, one.workflow)),
      h("p", { class: "quiet about" }, `${one.run} · in ${one.workspace}`)),
    h("div", { class: "measure", "data-level": one.failed ? "high" : "fine" }, h("span", { class: "name" }, "Steps"),
      h("span", { class: "words" }, steps, one.failed ? `, ${one.failed} failed` : ""), h("span", { class: "bar", "aria-hidden": "true" }, part)),
    h("div", { class: "figures" },
      h("span", {}, usd(one.usd_micro)), h("span", { class: "quiet" }, ended ? `took ${duration(ended - one.started_ns)}` : `for ${duration(Date.now() * 1e6 - one.started_ns)}`),
      h("span", { class: "quiet" }, `begun ${ago(one.started_ns)}`),
      one.questions ? h("a", { class: "asks", href: "/approvals" }, `${plural(one.questions, "question")} for you`) : null));
}

// ---- one run

class OneRun {
  constructor(page, run) {
    this.page = page;
    this.run = run;
    this.graph = new Graph((name) => this.choose(name));
    this.chosen = page.params.get("step") || "";
  }

  open() {
    const { page } = this;
    this.heading = h("h1", {}, this.run);
    this.badge = h("span", { class: "badge" });
    this.about = h("p", { class: "quiet" });
    this.words = h("p", { class: "description" });
    this.notice = h("div", { class: "notice" });
    this.status = h("p", { class: "hidden", role: "status" });
    this.figures = ["Elapsed", "Spent", "Tokens", "Calls to models", "Denied", "Redacted"].map((name) => {
      const value = h("dd", {});
      return { name, value, root: h("div", { "data-name": name }, h("dt", {}, name), value) };
    });
    this.detail = h("section", { class: "card step-card", "aria-labelledby": "step" });
    put(page.main, h("p", { class: "crumbs" }, h("a", { href: "/workflows" }, "Workflows"), " / ", this.run),
      h("div", { class: "heading" }, this.heading, this.badge), this.words, this.about, this.status, this.notice,
      h("dl", { class: "facts" }, this.figures.map((one) => one.root)),
      h("div", { class: "flow-columns" }, h("section", { class: "card flow-card", "aria-labelledby": "steps" },
        h("h2", { id: "steps" }, "Steps"), this.graph.root, legend()), this.detail));
    follow(() => `/api/v1/views/workflows/${this.run}/live`, { run: (found) => this.draw(found) },
      (problem) => { page.say(problem); page.main.classList.toggle("stale", Boolean(problem)); },
      `/api/v1/workflows/runs/${this.run}`);
    new ResizeObserver(() => { if (this.found) this.graph.draw(this.found); }).observe(this.graph.root);
    setInterval(() => { if (!document.hidden) this.tick(); }, TICK_MS);
  }

  choose(name) {
    this.chosen = name;
    this.page.keep({ run: this.run, step: name });
    if (this.found) this.draw(this.found);
    if (matchMedia("(max-width: 64rem)").matches) this.detail.scrollIntoView({ block: "nearest", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
  }

  draw(found) {
    this.found = found;
    this.ahead = Date.now() * 1e6 - found.at_ns;
    this.page.title(found.workflow);
    setText(this.heading, found.workflow);
    this.badge.dataset.state = found.state;
    put(this.badge, stateMark(found.state), found.state);
    setText(this.words, found.description);
    this.words.hidden = !found.description;
    setText(this.about, `${found.run} · in ${found.workspace} · begun ${moment(found.started_ns)}`);
    this.say(found);
    const values = ["", usd(found.usd_micro), count(found.tokens), count(found.calls), count(found.denials), count(found.redactions)];
    this.figures.forEach((one, at) => {
      if (at) setText(one.value, found.complete || at < 4 ? values[at] : `${values[at]} so far`);
      one.root.toggleAttribute("data-any", (one.name === "Denied" && found.denials > 0) || (one.name === "Redacted" && found.redactions > 0));
    });
    this.tick();
    const first = WORTH.map((state) => found.steps.find((one) => one.state === state)).find(Boolean) || found.steps.at(-1);
    const chosen = found.steps.find((one) => one.name === this.chosen) || first;
    found.chosen = chosen ? chosen.name : "";
    this.graph.draw(found);
    const now = found.steps.filter((one) => one.state !== "waiting").map((one) => `${one.name} ${one.state}`).join(", ");
    setText(this.status, `${found.state}: ${now}`);
    if (chosen) put(this.detail, ...about(chosen, found, this.ahead));
    else put(this.detail, h("h2", { id: "step" }, "No step was begun"));
  }

  // What waits for somebody, and what to do next.
  say(found) {
    const parts = found.questions.map((one) => h("div", { class: "card ask" }, h("h2", {}, `${one.step} asks`), h("p", { class: "question" }, one.message),
      h("p", {}, h("a", { href: "/approvals" }, "Answer it"), ", or on this host: ", h("code", {}, `akiosctl approvals yes ${one.id}`), " ", h("code", {}, `akiosctl approvals no ${one.id}`))));
    if (found.why) parts.push(h("div", { class: "card wrong" }, h("h2", {}, "The run ended before its end"), h("p", {}, found.why)));
    const repeat = found.steps.some((step) => step.instances.some((one) => one.next.includes("--repeat")));
    if (found.state === "unfinished") {
      parts.push(h("div", { class: "card wrong" }, h("h2", {}, "Nobody drives this run any more"),
        h("p", {}, "What is done is not done again when it is gone on with, in its directory:"), h("p", {}, h("code", {}, `akiosctl workflow run FILE --resume${repeat ? " --repeat" : ""}`))));
    }
    if (!found.order.length) parts.push(h("p", { class: "quiet" }, "The text of this workflow is not known any more: only steps that were begun are shown."));
    const words = JSON.stringify([found.questions, found.why, found.state, found.order.length, repeat]);
    if (this.said !== words) put(this.notice, ...parts);
    this.said = words;
  }

  tick() {
    if (!this.found) return;
    const { started_ns: from, ended_ns: to } = this.found;
    setText(this.figures[0].value, duration((to || Date.now() * 1e6 - this.ahead) - from));
    for (const one of this.detail.querySelectorAll("[data-since]")) setText(one, duration(Date.now() * 1e6 - this.ahead - Number(one.dataset.since)));
  }
}

function legend() {
  const shown = ["waiting", "running", "asking", "done", "failed", "left out", "not heard of"];
  return h("ul", { class: "legend", "aria-label": "What the marks mean" }, shown.map((state) =>
    h("li", { "data-state": state }, h("span", { class: "mark", "aria-hidden": "true" }, MARKS[state]), state)));
}

function about(step, run, ahead) {
  const line = (name, value) => (value ? h("div", {}, h("dt", {}, name), h("dd", {}, value)) : null);
  const links = (names) => names.map((name, at) => [at ? ", " : "", h("a", { href: address(run.run, name) }, name)]);
  return [
    h("div", { class: "heading" }, h("h2", { id: "step" }, step.name),
      h("span", { class: "badge", "data-state": step.state }, h("span", { class: "mark", "aria-hidden": "true" }, MARKS[step.state]), step.state)),
    h("dl", { class: "plain" }, line("Does", step.does && `${step.does} (${step.agent} ${step.action})`), line("Needs", step.needs.length ? links(step.needs) : ""),
      line("Only if", step.condition && h("code", {}, step.condition)), line("For each", step.matrix.join(", ")),
      line("Attempts", step.attempts > 1 && `up to ${step.attempts}`), line("In the file", step.line && `line ${step.line}`)),
    ...step.instances.slice(0, 100).map((one) => instance(one, step, ahead)),
    step.instances.length > 100 && h("p", { class: "quiet" }, `and ${step.instances.length - 100} more: akiosctl output show ${run.run}`),
    !step.instances.length && h("p", { class: "quiet" }, { waiting: "It has not begun: it waits for what it needs.", "left out": "It was left out: its condition is false, or what it needs was." }[step.state] || "It did not begin: the run ended before."),
  ];
}

function instance(one, step, ahead) {
  const live = one.state === "running";
  const took = live ? h("span", { "data-since": one.started_ns }, duration(Date.now() * 1e6 - ahead - one.started_ns)) : one.seconds ? duration(one.seconds * 1e9) : "";
  const facts = [took, one.calls ? `${plural(one.calls, "call")}, ${count(one.tokens)} tokens, ${usd(one.usd_micro)}` : "",
    one.attempt > 1 ? `attempt ${one.attempt}` : ""].filter(Boolean);
  return h("div", { class: "instance", "data-state": one.state },
    h("p", {}, step.matrix.length ? h("strong", {}, `${one.instance + 1}. `) : null, h("span", { class: "word" }, one.state), facts.map((fact) => [" · ", fact])),
    one.cage && h("p", { class: "links" }, h("a", { href: `/cage${query({ id: one.cage })}` }, one.cage), " ", h("a", { href: `/decisions${query({ cage: one.cage })}` }, "Decisions"),
      one.denials ? h("span", { class: "bad" }, ` ${plural(one.denials, "denial")}`) : null, one.redactions ? h("span", { class: "redacted" }, ` ${plural(one.redactions, "redaction")}`) : null),
    one.why && h("p", { class: "bad" }, one.why), one.next && h("p", {}, `Next: ${one.next}`));
}
