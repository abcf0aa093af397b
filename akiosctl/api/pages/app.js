// The page: signs in, shows the view that the address names, and says what is wrong.

import { query, request } from "/ask.js";
import { find, h, put, setText } from "/dom.js";
import { setUpTheme } from "/theme.js";

const VIEWS = {
  "/": ["cages", "Cages", () => import("/cages.js")],
  "/cage": ["cages", "Cage", () => import("/cage.js")],
  "/decisions": ["decisions", "Decisions", () => import("/decisions.js")],
  "/ledger": ["ledger", "Ledger", () => import("/ledger.js")],
  "/workflows": ["workflows", "Workflows", () => import("/workflows.js")],
  "/approvals": ["approvals", "Approvals", () => import("/approvals.js")],
};

const AGAIN = "What is shown is of before; this page comes back by itself.";

// What a view is given: where it draws, its part of the address, and whom it tells of problems.
const page = {
  main: find("main"),
  params: new URLSearchParams(location.search),

  title(text) {
    document.title = `${text} · AKIOS`;
  },

  // The address says what is shown, so that it can be kept and sent to somebody.
  keep(given) {
    const path = location.pathname + query(given);
    history.replaceState(null, "", path);
    this.params = new URLSearchParams(location.search);
  },

  say(problem) {
    const banner = find("banner");
    if (problem && problem.status === 401) {
      signInForm("");
      return;
    }
    banner.hidden = !problem;
    const words = problem ? [problem.what || problem.message, problem.next, AGAIN] : [];
    // Said once: the same problem again is no news to who hears the page.
    if (banner.dataset.said !== words.join()) {
      banner.dataset.said = words.join();
      put(banner, h("strong", {}, words[0]), words.slice(1).filter(Boolean).map((one) => h("span", {}, one)));
    }
    this.link(problem ? "away" : "live");
  },

  link(state) {
    const words = { live: "Live", away: "Not connected", "": "" };
    const place = find("link");
    place.dataset.state = state;
    setText(place, words[state]);
  },

  // Runs what asks the server; its problem is shown.
  async attempt(work) {
    try {
      const found = await work();
      find("banner").hidden = true;
      return found;
    } catch (problem) {
      if (problem.status === undefined) throw problem;
      this.say(problem);
      return undefined;
    }
  },
};

async function signIn(token) {
  try {
    await request("POST", "/api/v1/session", { Authorization: `Bearer ${token}` });
  } catch (problem) {
    signInForm(`${problem.message}. ${problem.next}`);
    return;
  }
  show();
}

function signInForm(words) {
  page.link("");
  find("banner").hidden = true;
  find("sign-out").hidden = true;
  const token = h("input", { id: "token", type: "password", autocomplete: "off", required: true, spellcheck: "false" });
  const form = h("form", { id: "sign-in", class: "card narrow", onsubmit: (event) => {
    event.preventDefault();
    signIn(token.value.trim());
  } },
  h("h1", {}, "Sign in"),
  h("p", { id: "state", role: "status" }, words || "This page needs a token."),
  h("label", { for: "token" }, "Token"), token,
  h("button", {}, "Sign in"),
  h("p", { class: "quiet" }, "Make one on this host, as the user who runs akiosctl serve:"),
  h("p", {}, h("code", {}, "akiosctl token create --scope read --scope events --scope ledger")));
  put(page.main, form);
}

async function show() {
  const [name, title, load] = VIEWS[location.pathname] || VIEWS["/"];
  page.title(title);
  find("sign-out").hidden = false;
  for (const one of document.querySelectorAll("nav a")) {
    if (one.dataset.view === name) one.setAttribute("aria-current", "page");
  }
  const view = await load();
  await view.show(page);
}

find("sign-out").addEventListener("click", async () => {
  await request("DELETE", "/api/v1/session").catch(() => undefined);
  location.assign("/");
});
document.addEventListener("keydown", (event) => {
  const field = document.querySelector("[data-search]");
  const typing = event.target.closest?.("input, select, textarea");
  if (event.key === "/" && field && !typing && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    field.focus();
  }
});

setUpTheme();
// The token stands in the address behind #token=, which browsers send to nobody.  It becomes a
// cookie that no script can read, and leaves the address at once.
const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) {
  history.replaceState(null, "", location.pathname + location.search);
  signIn(given);
} else {
  show();
}
