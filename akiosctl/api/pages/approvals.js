// What workflows ask, and wait for; answered here by who signed in with the scope approve.

import { ask, send } from "/ask.js";
import { h, put, setText } from "/dom.js";
import { ago, duration, plural } from "/format.js";

const REFRESH_MS = 3000;

export function show(page) {
  const list = h("ul", { class: "cages" });
  const status = h("p", { class: "quiet", role: "status" });
  const answered = h("p", { class: "quiet", role: "status", id: "answered" });
  const cards = new Map();  // by question: what somebody types into one stays
  put(page.main, h("h1", {}, "Approvals"), status, answered, list);

  async function read() {
    const found = document.hidden ? null : await page.attempt(() => ask("/api/v1/views/approvals"));
    if (!found) return;
    page.link("live");
    const number = found.questions.length;
    setText(status, number ? `${plural(number, "question")} of workflows ${number === 1 ? "waits" : "wait"} for a person.` : "No workflow waits for an answer.");
    const waiting = new Set(found.questions.map((one) => one.id));
    for (const [id, made] of cards) {
      if (!waiting.has(id)) { made.card.remove(); cards.delete(id); }
    }
    for (const one of found.questions) {
      if (!cards.has(one.id)) {
        cards.set(one.id, card(one, found.may_answer, answer));
        list.append(cards.get(one.id).card);
      }
      setText(cards.get(one.id).until, until(one));
    }
  }

  async function answer(one, yes, comment) {
    const question = encodeURIComponent(one.id);
    const said = await page.attempt(() => send("POST", `/api/v1/approvals/${question}`, { yes, comment }));
    if (said) setText(answered, `You said ${yes ? "yes" : "no"} to ${one.workflow}: ${one.step}.`);
    await read();
    return Boolean(said);
  }

  async function follow() {
    await read();
    setTimeout(follow, REFRESH_MS);
  }

  follow();
}

function until(one) {
  const left = one.until_ns - Date.now() * 1e6;
  return `Asked ${ago(one.asked_ns)}; refused by itself in ${duration(Math.max(0, left))}.`;
}

function card(one, mayAnswer, answer) {
  const said = h("p", { class: "quiet" }, until(one));
  const made = h("li", { class: "card" },
    h("h2", {}, `${one.workflow}: ${one.step}`),
    h("p", { class: "question" }, one.message),
    said,
    mayAnswer ? form(one, answer) : byCommand(one));
  return { card: made, until: said };
}

function byCommand(one) {
  return [
    h("p", { class: "quiet" }, "Answer on this host, or sign in with a token of the scope approve:"),
    h("p", {}, h("code", {}, `akiosctl approvals yes ${one.id}`)),
    h("p", {}, h("code", {}, `akiosctl approvals no ${one.id}`))];
}

function form(one, answer) {
  const name = `comment-${one.id}`;
  const comment = h("input", { id: name, autocomplete: "off", maxlength: 2000 });
  const say = async (yes) => {
    for (const button of buttons) button.disabled = true;  // a second click is no second answer
    const done = await answer(one, yes, comment.value);
    for (const button of buttons) button.disabled = done;
  };
  const buttons = [
    h("button", { type: "button", onclick: () => say(true) }, "Yes"),
    h("button", { type: "button", onclick: () => say(false) }, "No")];
  const label = `to ${one.workflow}: ${one.step}`;
  for (const button of buttons) button.setAttribute("aria-label", `${button.textContent} ${label}`);
  return h("div", { class: "answer" }, h("label", { for: name }, "Comment, which the workflow sees"), comment, h("p", { class: "buttons" }, buttons));
}
