// Numbers for people, with their units; as akiosd/values/units.py writes them.

// A number and its unit stay on one line.
const withUnit = (number, unit) => `${number}\u00a0${unit}`;

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

export function size(bytes) {
  let value = bytes, unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) { value /= 1024; unit += 1; }
  return withUnit(value >= 100 ? Math.round(value) : Number(value.toFixed(1)), UNITS[unit]);
}

export function usd(micro) {
  const dollars = micro / 1e6;
  const digits = micro % 10_000 === 0 || dollars >= 100 ? 2 : dollars >= 1 ? 3 : 4;
  return `$${dollars.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: digits })}`;
}

export function duration(ns) {
  const s = ns / 1e9;
  if (s < 1) return withUnit(Math.round(s * 1000), "ms");
  if (s < 120) return withUnit(s < 10 ? s.toFixed(1) : Math.round(s), "s");
  if (s < 7200) return withUnit(Math.round(s / 60), "min");
  if (s < 48 * 3600) return withUnit((s / 3600).toFixed(1), "h");
  return withUnit(Math.round(s / 86400), "days");
}

export const count = (number) => number.toLocaleString("en");
export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;
export function ago(ns) {
  const passed = Date.now() * 1e6 - ns;
  return passed < 1e9 ? "just now" : `${duration(passed)} ago`;
}

const two = (number) => String(number).padStart(2, "0");
export function clock(ns) {
  const at = new Date(ns / 1e6);
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${String(at.getMilliseconds()).padStart(3, "0")}`;
}
export function day(ns) {
  const at = new Date(ns / 1e6);
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
}
export const moment = (ns) => `${day(ns)} ${clock(ns).slice(0, 8)}`;

export const command = (argv) =>
  argv.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`)).join(" ");
