// One question to the server, and its answer or its problem (RFC 9457) in words.

export class Problem extends Error {
  constructor(status, what, next, rule) {
    super(what);
    this.status = status;
    this.next = next;
    this.rule = rule;
  }
}

const AWAY = "The server of this page, akiosctl serve, does not answer";

export async function request(method, path, headers = {}, body = undefined) {
  let answer;
  try {
    answer = await fetch(path, { method, headers, body, credentials: "same-origin", cache: "no-store" });
  } catch {
    throw new Problem(0, AWAY, "start it again: akiosctl serve", "");
  }
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({}));
  throw new Problem(answer.status, said.detail || answer.statusText, said.next || "", said.rule || "");
}

export const ask = async (path) => (await request("GET", path)).json();

export const send = async (method, path, given) =>
  (await request(method, path, { "Content-Type": "application/json" }, JSON.stringify(given))).json();

export function query(given) {
  const found = new URLSearchParams();
  for (const [name, value] of Object.entries(given)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== "" && one !== null && one !== undefined) found.append(name, one);
    }
  }
  const text = found.toString();
  return text ? `?${text}` : "";
}
