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

const real = (children) => children.flat(3).filter((one) => one !== null && one !== undefined && one !== false);

// These children, and no others.
export const put = (element, ...children) => element.replaceChildren(...real(children));

export const h = (tag, given = {}, ...children) =>
  fill(document.createElement(tag), given, children);

export const svg = (tag, given = {}, ...children) =>
  fill(document.createElementNS(SVG, tag), given, children);

export const find = (id) => document.getElementById(id);

// Only where it changed: a screen reader repeats nothing, and a selection stays.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
