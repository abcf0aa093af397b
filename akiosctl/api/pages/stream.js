// Follows a stream of events: goes on where it stopped, says when it is away, and is closed while
// nobody looks (a browser opens six connections to a server, and no more).

import { ask } from "/ask.js";

const WAIT_MS = 2000;

// address(id): where the stream is, behind the event of that id.  on: kind of event -> function.
// say(null) when it is up, say(problem) when it is not; check: what is asked to know why.
export function follow(address, on, say, check = "/api/v1/version") {
  let source = null, last = "", timer = 0, stopped = false;

  function open() {
    if (stopped || source || document.hidden) return;
    source = new EventSource(address(last));
    source.addEventListener("open", () => say(null));
    source.addEventListener("error", failed);
    source.addEventListener("away", (event) => say(read(event)));
    source.addEventListener("back", () => say(null));
    source.addEventListener("end", (event) => { close(); say({ ...read(event), ended: true }); });
    for (const [kind, react] of Object.entries(on)) {
      source.addEventListener(kind, (event) => {
        last = event.lastEventId || last;
        react(JSON.parse(event.data));
      });
    }
  }

  const read = (event) => JSON.parse(event.data);

  function close() {
    if (source) source.close();
    source = null;
  }

  // Why, the server is asked: an event source is not told.
  async function failed() {
    close();
    try {
      await ask(check);
    } catch (problem) {
      say({ what: problem.message, next: problem.next, status: problem.status });
      if (problem.status === 401) return;
    }
    clearTimeout(timer);
    timer = setTimeout(open, WAIT_MS);
  }

  function look() {
    if (document.hidden) close();
    else open();
  }

  document.addEventListener("visibilitychange", look);
  open();
  return () => {
    stopped = true;
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", look);
    close();
  };
}
