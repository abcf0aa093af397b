// The token stands in the address behind #token=, which browsers send to nobody. It becomes a
// cookie that no script can read, and leaves the address at once.
"use strict";

const find = (id) => document.getElementById(id);

function show(text, signedIn) {
  find("state").textContent = text;
  find("sign-in").hidden = signedIn;
  find("sign-out").hidden = !signedIn;
}

async function ask(method, path, token) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const answer = await fetch(path, { method, headers, credentials: "same-origin" });
  const body = await answer.json();
  if (!answer.ok) throw new Error(`${body.detail}. ${body.next}`);
  return body;
}

async function look() {
  const found = await ask("GET", "/api/v1/version");
  show(`Signed in. ${found.software}`, true);
}

async function signIn(token) {
  try {
    if (token) await ask("POST", "/api/v1/session", token);
    await look();
  } catch (error) {
    show(token ? error.message : "Not signed in.", false);
  }
}

find("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  signIn(find("token").value.trim());
});
find("sign-out").addEventListener("click", async () => {
  await ask("DELETE", "/api/v1/session").catch(() => undefined);
  show("Signed out.", false);
});

const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) history.replaceState(null, "", location.pathname);
signIn(given);
