// Makes elements.  Text is only ever put in as text: nothing that an agent wrote is read as HTML.

const SVG = "http://www.w3.org/2000/svg";

function fill(made, given, children) {
  for (const [name, value] of Object.entries(given)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "value") made.value = value;
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...real(children));
  return made;
}

// What nobody sees, or what turns the text around it, is spelled out, as the command line does.
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;
const spelled = (found) => `\\u${found.codePointAt(0).toString(16).padStart(4, "0")}`;
const plain = (one) => (typeof one === "string" ? one.replace(HIDDEN, spelled) : one);

const real = (children) =>
  children.flat(3).filter((one) => one !== null && one !== undefined && one !== false).map(plain);

// These children, and no others.
export const put = (element, ...children) => element.replaceChildren(...real(children));

export const h = (tag, given = {}, ...children) =>
  fill(document.createElement(tag), given, children);

export const svg = (tag, given = {}, ...children) =>
  fill(document.createElementNS(SVG, tag), given, children);

export const find = (id) => document.getElementById(id);

// Only where it changed: a screen reader repeats nothing, and a selection stays.
export function setText(element, text) {
  const shown = plain(text);
  if (element.textContent !== shown) element.textContent = shown;
}
