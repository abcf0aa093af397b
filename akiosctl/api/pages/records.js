// A record of the ledger in a few words.  What is unknown here is shown as it is.

import { command, count, duration, plural, size, usd } from "/format.js";

const join = (...parts) => parts.filter(Boolean).join(" · ");
const times = (one) => (one.count > 1 ? `${count(one.count)} times` : "");

// kind -> [what it is about, title, detail]
const WORDS = {
  birth: (r) => ["life", "Cage made", join(command(r.argv || []), r.degraded && "with less protection than asked for")],
  started: (r) => ["life", "Agent started", `process ${r.pid} on the host`],
  end: (r) => [r.exit_code ? "bad" : "life", "Ended", join(r.reason, `exit status ${r.exit_code}`)],
  program_started: (r) => ["life", `Program ${r.program} started`, r.copies ? `cp ${r.copies}` : command(r.argv || [])],
  program_ended: (r) => [r.exit_code ? "bad" : "life", `Program ${r.program} ended`, join(r.reason, `exit status ${r.exit_code}`)],
  llm_call: (r) => ["money", `${usd(r.usd_micro)} to ${r.provider}`, join(
    r.model, tokens(r.tokens), r.outcome, r.estimated && "estimated", r.duration_ns && duration(r.duration_ns))],
  spend_warning: (r) => ["denied", `Refused: ${r.rule}`, join(r.model, r.words, r.final && "the cage ends")],
  redaction: (r) => ["redacted", `Redacted: ${plural(sum(r.findings), "finding")}`, join(
    `to ${r.towards}`, r.mode, (r.findings || []).map((one) => `${one.type}${one.count > 1 ? ` × ${one.count}` : ""} at ${one.place}`).slice(0, 8).join(", "))],
  net_denied: (r) => ["denied", `Denied: ${r.host || r.protocol}`, join(r.rule, r.method, r.path, times(r), r.hint)],
  net_request: (r) => ["net", `${r.method || r.mode} ${r.host}${[80, 443].includes(r.port) ? "" : `:${r.port}`}`, join(
    r.path, r.status && `status ${r.status}`, `${size(r.bytes_out || 0)} out, ${size(r.bytes_in || 0)} in`, r.error)],
  syscall: (r) => r.verdict === "denied"
    ? ["denied", `Denied: ${r.name}`, join(r.path || r.address, r.argv && command(r.argv), times(r), r.errno && `errno ${r.errno}`)]
    : ["call", r.name, join(r.path || r.address, r.path2, times(r))],
  file_used: (r) => ["call", r.use === "executed" ? "Executed" : "Written", join(r.path, times(r))],
  system_changed: () => ["bad", "The host's programs changed", "this cage sees old and new ones mixed: restart it"],
  lost: (r) => ["bad", `${r.count ? plural(r.count, "record") : "Records"} lost`, r.why],
  gateway_failed: (r) => ["bad", "The gateway failed", join(r.what, "nothing was let through")],
  daemon_restarted: (r) => ["life", "akiosd was restarted", `from ${r.before || "?"} to ${r.version || "?"}; the cage went on`],
  log_open: () => ["life", "Log opened", ""],
  unprotected: (r) => ["bad", "Made without protections", (r.left_out || []).join(", ")],
  cage_birth: (r) => ["life", "Cage made", r.cage],
  cage_end: (r) => ["life", "Cage ended", join(r.cage, r.reason, `exit status ${r.exit_code || 0}`)],
  cage_settled: (r) => ["life", r.committed ? "Changes committed" : "Changes settled", r.cage],
  cage_destroyed: (r) => ["life", "Cage destroyed", r.cage],
  roots: (r) => ["call", "Roots of logs", plural((r.roots || []).length, "log")],
};

const cut = (text, most) => (text.length > most ? `${text.slice(0, most)}…` : text);
const sum = (findings) => (findings || []).reduce((all, one) => all + (one.count || 1), 0);
const tokens = (t) => (t ? `${count((t.input || 0))} tokens in, ${count(t.output || 0)} out` : "");

export function describe(record) {
  const words = Object.hasOwn(WORDS, record.kind) ? WORDS[record.kind] : null;
  if (words) {
    const [about, title, detail] = words(record);
    return [about, cut(title, 120), cut(detail || "", 500)];
  }
  const { log, index, ts, kind, ...fields } = record;
  return ["life", kind || "?", JSON.stringify(fields).slice(0, 400)];
}
