// Light or dark: the system's, until the switch says otherwise.

import { find, setText } from "/dom.js";

const NAMES = { "": "system", light: "light", dark: "dark" };
const NEXT = { "": "light", light: "dark", dark: "" };

function keep(name) {
  try { localStorage.setItem("akios-theme", name); } catch { /* it holds for this page then */ }
}

function kept() {
  try { return localStorage.getItem("akios-theme") || ""; } catch { return ""; }
}

export function setUpTheme() {
  const button = find("theme");
  let name = kept() in NAMES ? kept() : "";
  const show = () => {
    if (name) document.documentElement.dataset.theme = name;
    else delete document.documentElement.dataset.theme;
    setText(button, `Theme: ${NAMES[name]}`);
  };
  button.addEventListener("click", () => {
    name = NEXT[name];
    keep(name);
    show();
  });
  show();
}
