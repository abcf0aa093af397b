// What workflows ask, and wait for.

import { ask } from "/ask.js";
import { h, put, setText } from "/dom.js";
import { ago, duration, plural } from "/format.js";

const REFRESH_MS = 3000;

export function show(page) {
  const list = h("ul", { class: "cages" });
  const status = h("p", { class: "quiet", role: "status" });
  put(page.main, h("h1", {}, "Approvals"), status, list);

  async function read() {
    const found = document.hidden ? null : await page.attempt(() => ask("/api/v1/views/approvals"));
    if (found) {
      page.link("live");
      const number = found.questions.length;
      setText(status, number ? `${plural(number, "question")} of workflows ${number === 1 ? "waits" : "wait"} for a person.` : "No workflow waits for an answer.");
      put(list, ...found.questions.map(card));
    }
    setTimeout(read, REFRESH_MS);
  }

  read();
}

function card(one) {
  const left = one.until_ns - Date.now() * 1e6;
  return h("li", { class: "card" },
    h("h2", {}, `${one.workflow}: ${one.step}`),
    h("p", { class: "question" }, one.message),
    h("p", { class: "quiet" }, `Asked ${ago(one.asked_ns)}; refused by itself in ${duration(Math.max(0, left))}. Answer on this host:`),
    h("p", {}, h("code", {}, `akiosctl approvals yes ${one.id}`)),
    h("p", {}, h("code", {}, `akiosctl approvals no ${one.id}`)));
}
