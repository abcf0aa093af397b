"""The pages of ``akiosctl serve`` in a browser: what they show, follow, verify, and withstand."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from akiosd.ledger.edge import Edge, extend_hashes
from akiosd.ledger.merkle import consistency_proof, leaf_hash, root_of
from akiosd.ledger.proof import tile_nodes
from tests.e2e.api_server import ApiServer
from tests.e2e.browser import DESK, PHONE, Visitor, chromium, fetch_axe
from tests.e2e.daemon import NOBODY, Daemon
from tests.e2e.test_api_running import begin
from tests.e2e.test_api_workflows import RUNS, started, text_of, tool, wait_over

pytestmark = pytest.mark.named_set("page")

# It leaves behind: a denied name, a denied call, a changed file.
AGENT = "echo x > made; curl -s http://tracker.example; unshare -m true; true"
EVIL = "<img src=x onerror=window.evil=1>"
# Its command, its files, the device it may not make and the name it may not reach are HTML.
HOSTILE = f"""
import os, subprocess, sys
open({EVIL!r}, "w").write("x")
try: os.mknod({EVIL!r} + "dev", 0o020666, os.makedev(1, 3))
except OSError: pass
subprocess.run(["curl", "-s", "http://tracker.example/<script>window.evil=1</script>"])
print("done", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as made:
        yield made


@pytest.fixture(scope="module")
def server(daemon: Daemon) -> Iterator[ApiServer]:
    with ApiServer(daemon) as made:
        yield made


@pytest.fixture
def visitor(browser: Any, server: ApiServer) -> Iterator[Visitor]:
    made = Visitor(browser, server).sign_in()
    yield made
    assert made.said == [] and made.reports == []
    made.close()


@pytest.fixture(scope="module")
def ended(daemon: Daemon) -> str:
    return str(daemon.report("sh", "-c", AGENT, uid=NOBODY)["cage"])


class Running:
    """A cage that lasts until it is told to end."""

    def __init__(self, daemon: Daemon, name: str, *argv: str) -> None:
        where = daemon.workspace(uid=NOBODY)
        flags = ("--name", name, "--workspace", where)
        self.process = daemon.popen(
            *("run", *flags, "--", *argv), uid=NOBODY, cwd=where, stdin=-1, stdout=-1, stderr=-3
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"done\n"

    def end(self) -> None:
        self.process.communicate(timeout=90)

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.end()


def test_a_cage_is_watched_live(visitor: Visitor, daemon: Daemon) -> None:
    page = visitor.page
    assert "token" not in page.url
    page.get_by_text("No cage runs").wait_for()
    with Running(daemon, "watched", "sh", "-c", f"{AGENT}; echo done; cat") as cage:
        row = page.locator("li.cage", has_text="watched")
        row.get_by_text("running").wait_for()
        row.get_by_role("meter", name="Memory").wait_for()
        memory = row.get_by_role("meter", name="Memory").get_attribute("aria-valuetext")
        assert memory.replace("\xa0", " ").endswith(" of 2 GiB")
        row.get_by_text("denials").wait_for()
        row.get_by_role("link", name="watched").click()
        timeline = page.locator(".timeline")
        timeline.get_by_text("Denied: tracker.example").first.wait_for()
        timeline.get_by_text("Denied: unshare").wait_for()
        assert timeline.get_by_text("Executed").count() == 0
        page.get_by_text("All 16 layers are enforced").wait_for()
        cage.end()
        timeline.get_by_text("Ended").wait_for()  # without a reload
        page.locator(".state", has_text="ended").wait_for()
    page.get_by_label("Also calls and files that nobody denied").check()
    timeline.get_by_text("Executed").first.wait_for()


def test_decisions_are_filtered_and_the_address_says_how(visitor: Visitor, ended: str) -> None:
    page = visitor.go(f"/decisions?cage={ended}")
    rows = page.locator("table.board tbody tr")
    rows.filter(has_text="tracker.example").first.wait_for()
    page.get_by_label("Verdict").select_option("denied")
    page.get_by_text("Nothing fits").or_(rows.first).wait_for()
    page.wait_for_function(
        "() => ![...document.querySelectorAll('.verdict')].some((v) => v.textContent !== 'denied')"
    )
    assert rows.filter(has_text="unshare").count() == 1
    page.get_by_role("button", name="Without unshare").click()
    rows.filter(has_text="unshare").wait_for(state="detached")
    assert "without=unshare" in page.url and "verdict=denied" in page.url
    page.reload()
    rows.filter(has_text="tracker.example").wait_for()
    assert rows.filter(has_text="unshare").count() == 0
    page.get_by_role("button", name="without unshare: take").click()
    rows.filter(has_text="unshare").wait_for()
    visitor.go(f"/decisions?cage={ended}&span=range&from=2001-01-01T00:00&to=2001-01-02T00:00")
    page.get_by_text("Nothing fits this filter").wait_for()


def verdict(page: Any, state: str) -> str:
    card = page.locator(f".verdict-card[data-state={state}]")
    card.wait_for()
    return str(card.inner_text())


def test_a_proof_is_verified_in_the_browser(visitor: Visitor, ended: str) -> None:
    page = visitor.go(f"/ledger?log={ended}&index=3")
    text = verdict(page, "verified")
    assert "Verified" in text and "signed by the log's key (Ed25519)" in text
    assert "for the first time" in text
    page.reload()
    assert "this browser saw before" in verdict(page, "verified")
    page.get_by_text("What the proved bytes say").click()
    page.get_by_role("link", name="Verify record 1", exact=True).click()
    page.get_by_text("record 1", exact=True).wait_for()
    verdict(page, "verified")
    # What was asked for is the log's own files, each once a proof.
    assert any("/tlog/tile/entries/" in url for url in visitor.asked)


def audit(daemon: Daemon, cage: str) -> Path:
    return daemon.state / "cages" / cage / "audit"


def flip(path: Path, at: int = -1) -> bytes:
    """Change one bit of a file; returns what it was."""
    before = path.read_bytes()
    after = bytearray(before)
    after[at] ^= 1
    path.chmod(0o644)
    path.write_bytes(after)
    return before


@pytest.mark.parametrize(("names", "at", "words"), [
    ("tile/0/000.p/*", 5, "a tile was changed on disk"),
    ("tile/0/000.p/*", 3 * 32, "are not those that the log's tile of hashes has"),
    ("tile/entries/000.p/*", -1, ""),
    ("checkpoint", -9, ""),
    ("checkpoint", 0, ""),
])  # fmt: skip
def test_a_changed_file_is_seen(
    visitor: Visitor, daemon: Daemon, names: str, at: int, words: str
) -> None:
    cage = str(daemon.report("true", uid=NOBODY)["cage"])
    page = visitor.go(f"/ledger?log={cage}&index=3")
    verdict(page, "verified")  # the control
    (path,) = audit(daemon, cage).glob(names)
    number = int(path.name) - 1 if "entries" in names else 3
    before = flip(path, at)
    visitor.go(f"/ledger?log={cage}&index={number}")
    text = verdict(page, "failed")
    assert "FAILED" in text and words in text
    path.write_bytes(before)
    page.reload()
    verdict(page, "verified")


def test_without_webcrypto_nothing_counts_as_verified(
    browser: Any, server: ApiServer, ended: str
) -> None:
    visitor = Visitor(browser, server)
    visitor.context.add_init_script("Object.defineProperty(crypto, 'subtle', {value: undefined})")
    page = visitor.sign_in().go(f"/ledger?log={ended}&index=3")
    text = verdict(page, "unknown")
    assert "Not verified" in text and "plain http" in text
    visitor.close()


def test_without_ed25519_the_signature_is_not_verified(
    browser: Any, server: ApiServer, ended: str
) -> None:
    visitor = Visitor(browser, server)
    visitor.context.add_init_script(
        "SubtleCrypto.prototype.importKey = () => Promise.reject(new DOMException('no'))"
    )
    page = visitor.sign_in().go(f"/ledger?log={ended}&index=3")
    assert "this browser has no Ed25519" in verdict(page, "unknown")
    visitor.close()


CHECK_TREE = """
async ([files, leaves, root, proofs]) => {
  const { Tree, isConsistent, unhex, hex } = await import("/merkle.js");
  const tree = new Tree(leaves.length, async (path) => unhex(files[path]));
  const wrong = [];
  const places = leaves.map((_, at) => at);
  for (const at of places.filter((one) => one < 3 || one % 97 === 0 || one > leaves.length - 3)) {
    const found = await tree.rootFrom(unhex(leaves[at]), at);
    if (hex(found.root) !== root) wrong.push(`root from ${at}`);
    const other = await tree.rootFrom(unhex(leaves[at].replace(/^./, (x) => x === "0" ? "1" : "0")), at);
    if (hex(other.root) === root) wrong.push(`a wrong leaf ${at} was taken`);
  }
  for (const [old, oldRoot, path] of proofs) {
    const holds = (one, to) => isConsistent(old, leaves.length, unhex(one), unhex(to), path.map(unhex));
    if (!await holds(oldRoot, root)) wrong.push(`not consistent with ${old}`);
    if (await holds(root.replace(/^./, (x) => x === "0" ? "1" : "0"), root)) wrong.push(`another ${old} was taken`);
  }
  return wrong;
}
"""


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 255, 256, 257, 700, 65_537])
def test_the_browsers_tree_is_the_ledgers(visitor: Visitor, size: int) -> None:
    """Around what fills a tile; with a wrong leaf, and another log's earlier root, refused."""
    leaves = [leaf_hash(b"%d" % number) for number in range(size)]
    files = dict(extend_hashes(Edge(), b"".join(leaves)).files)
    nodes = tile_nodes(size, lambda tile: files[tile.path])
    proofs = [
        (
            old,
            root_of(b"".join(leaves[:old])).hex(),
            [n.hex() for n in consistency_proof(old, size, nodes)],
        )
        for old in sorted({1, 2, size // 2, size - 1, size} - {0})
        if old <= size
    ]
    given = [
        {name: data.hex() for name, data in files.items()},
        [leaf.hex() for leaf in leaves],
        root_of(b"".join(leaves)).hex(),
        proofs,
    ]
    assert visitor.page.evaluate(CHECK_TREE, given) == []


def banner(page: Any) -> Any:
    return page.locator("#banner")


def test_akiosd_away_is_said_and_the_page_comes_back(browser: Any, private: Daemon) -> None:
    with ApiServer(private) as server:
        visitor = Visitor(browser, server).sign_in()
        page = visitor.page
        page.get_by_text("No cage runs").wait_for()
        private.stop()
        banner(page).get_by_text("akiosd is not running").wait_for()
        words = f"--state-dir {private.state} --runtime-dir {private.base}/run"
        assert words in banner(page).inner_text()
        page.locator("#link", has_text="Not connected").wait_for()
        private.start()
        banner(page).wait_for(state="hidden")
        with Running(private, "later", "sh", "-c", "echo done; cat"):
            page.locator("li.cage", has_text="later").wait_for()
        visitor.close()


def test_the_server_away_is_said_too(browser: Any, daemon: Daemon) -> None:
    server = ApiServer(daemon)
    visitor = Visitor(browser, server).sign_in()
    page = visitor.page
    page.get_by_text("No cage runs").or_(page.locator("li.cage").first).wait_for()
    server.process.send_signal(signal.SIGKILL)
    server.process.wait(60)
    banner(page).get_by_text("The server of this page").wait_for()
    # Another server does not know the session; the page finds it, and asks for a token.
    words = ("serve", "--listen", f"127.0.0.1:{server.port}")
    again = daemon.popen(*words, uid=NOBODY, stdout=subprocess.DEVNULL)
    page.get_by_text("This page needs a token").wait_for()
    again.send_signal(signal.SIGINT)
    again.wait(60)
    visitor.close()
    server.stop()


def test_a_wrong_token_and_a_missing_scope_are_said(browser: Any, server: ApiServer) -> None:
    visitor = Visitor(browser, server)
    visitor.page.goto(server.url + "/#token=akt_00000000_wrong")
    visitor.page.locator("#state").get_by_text("a valid token is needed").wait_for()
    visitor.page.get_by_label("Token").fill(server.new_token("read"))
    visitor.page.get_by_role("button", name="Sign in").click()
    visitor.page.get_by_role("button", name="Running").wait_for()
    visitor.go("/decisions")
    banner(visitor.page).get_by_text("akiosctl token create --scope ledger").wait_for()
    visitor.page.get_by_role("button", name="Sign out").click()
    visitor.page.get_by_text("This page needs a token").wait_for()
    visitor.close()


def test_what_an_agent_wrote_is_text(visitor: Visitor, daemon: Daemon) -> None:
    """Its command, files and names are HTML; the visitor's end says what the policy stopped."""
    page = visitor.page
    with Running(daemon, "hostile", "python3", "-c", HOSTILE, EVIL):
        row = page.locator("li.cage", has_text="hostile")
        row.get_by_text(EVIL).wait_for()
        row.get_by_role("link", name="hostile").click()
        page.get_by_label("Also calls and files that nobody denied").check()
        page.locator(".timeline").get_by_text(EVIL).first.wait_for()
        cage = page.url.partition("id=")[2].partition("&")[0]
        visitor.go(f"/decisions?cage={cage}&sort=file")
        page.locator("table.board").get_by_text(EVIL).first.wait_for()
        page.get_by_role("button", name=f"Without {EVIL}dev").click()
        page.locator(".tags").get_by_text(EVIL).wait_for()
        visitor.go(f"/decisions?cage={cage}&text=%3Cimg%20src%3Dx%20onerror%3Dwindow.evil%3D1%3E")
        page.locator("table.board").get_by_text(EVIL).first.wait_for()
        visitor.go(f"/ledger?log={cage}&index=1")
        verdict(page, "verified")
        assert page.evaluate("window.evil") is None and page.locator("img").count() == 0
    # The control: the browser would run it if it were read as HTML, and the policy says so.
    assert page.evaluate("""() => {
      try { document.body.innerHTML = "<b>x</b>"; return "taken"; } catch (error) { return error.name; }
    }""") == "TypeError"  # fmt: skip
    visitor.said.clear()
    page.reload()
    page.wait_for_selector("h1")


TURNED, LONG = "safe\u202etxt.exe\u2066", "w" * 65_000


def test_what_turns_text_around_is_spelled_out(visitor: Visitor, daemon: Daemon) -> None:
    """A command that would read as another one, and words of any length."""
    agent = "import sys; print('done', flush=True); sys.stdin.read()"
    page = visitor.page
    with Running(daemon, "turned", "python3", "-c", agent, TURNED, "line\nline", LONG):
        row = page.locator("li.cage", has_text="turned")
        row.get_by_text("safe\\u202etxt.exe\\u2066").wait_for()
        row.get_by_role("link", name="turned").click()
        page.get_by_text("safe\\u202etxt.exe\\u2066").first.wait_for()
        text = page.evaluate("document.body.textContent")
        assert "\u202e" not in text and "\u2066" not in text
        assert "safe" in text  # control: it is there


ASKER = """
import sys, time
from akiosctl.approvals import wait_answer
from akiosd.values.approval import Approval
now = time.time_ns()
about = {"run": "r-1", "workflow": "deploy", "step": "ask"}
asked = Approval(sys.argv[1], now, now + 600 * 10**9)
print(wait_answer(asked, "r-1.ask", about, 600, lambda: print("asked", flush=True)).state)
"""


@contextmanager
def asking(daemon: Daemon) -> Iterator[subprocess.Popen[str]]:
    """A workflow that waits for a person, who will see what it then prints."""
    command = [sys.executable, "-c", ASKER, EVIL]
    asker: subprocess.Popen[str] = subprocess.Popen(
        command, stdout=-1, text=True, **daemon.as_user(NOBODY)
    )
    assert asker.stdout is not None and asker.stdout.readline() == "asked\n"
    try:
        yield asker
    finally:
        asker.kill()
        asker.communicate()


def test_a_question_waits_until_somebody_answers(
    browser: Any, server: ApiServer, daemon: Daemon
) -> None:
    # With a token that may not answer the page says how it is done by hand.
    visitor = Visitor(browser, server)
    token = server.new_token("read", "events", "ledger")
    visitor.page.goto(f"{server.url}/#token={token}")
    visitor.page.wait_for_selector("h1")
    page = visitor.go("/approvals")
    page.get_by_text("No workflow waits for an answer").wait_for()
    with asking(daemon) as asker:
        page.get_by_text("deploy: ask").wait_for()
        page.locator(".question").get_by_text(EVIL).wait_for()
        assert page.get_by_role("button", name="Yes").count() == 0
        told = page.get_by_text("akiosctl approvals yes").inner_text()
        assert daemon.ctl(*told.split()[1:], uid=NOBODY).returncode == 0
        assert asker.communicate(timeout=90)[0] == "approved\n"
        page.get_by_text("No workflow waits for an answer").wait_for()
    assert visitor.said == [] and visitor.reports == []
    visitor.close()


@pytest.mark.parametrize(("name", "state"), [("Yes", "approved"), ("No", "refused")])
def test_a_question_is_answered_on_the_page(
    visitor: Visitor, daemon: Daemon, name: str, state: str
) -> None:
    page = visitor.go("/approvals")
    with asking(daemon) as asker:
        comment = page.get_by_label("Comment")
        comment.fill("as agreed")
        # The page asks again meanwhile: what was typed stays, and the place in it.
        with page.expect_response("**/views/approvals"):
            pass
        assert comment.input_value() == "as agreed"
        assert comment.evaluate("(field) => field === document.activeElement")
        page.get_by_role("button", name=f"{name} to deploy: ask").click()
        assert asker.communicate(timeout=90)[0] == f"{state}\n"
        page.get_by_text(f"You said {name.lower()} to deploy: ask").wait_for()
        page.get_by_text("No workflow waits for an answer").wait_for()


@pytest.fixture(scope="module")
def flow(server: ApiServer) -> str:
    """A run that is over: done, left out, failed, and not begun."""
    text = text_of(
        tool("first", "true"),
        tool("left", "true", **{"if": "false"}),
        tool("wrong", "false", needs=["first", "left"]),
        tool("never", "true"),
    )
    run = started(begin(server, RUNS, text=text))
    wait_over(server, run)
    return run


def step_of(page: Any, name: str) -> Any:
    return page.locator(f".step[data-step='{name}']")


def states(page: Any) -> dict[str, str]:
    found: dict[str, str] = page.evaluate(
        "Object.fromEntries([...document.querySelectorAll('.step')].map("
        "(one) => [one.dataset.step, one.dataset.state]))"
    )
    return found


def test_a_workflow_is_a_graph_that_moves(visitor: Visitor, server: ApiServer) -> None:
    ask = {"name": "agree", "agent": "approve", "action": "ask", "config": {"timeout": 600}}
    text = text_of(
        tool("first", "sleep", "1"),
        {**ask, "needs": "first", "parameters": {"message": EVIL}},
        tool("beside", "true", needs="first"),
        tool("last", "true", needs=["agree", "beside"]),
        description=EVIL,
    )
    page = visitor.go("/workflows")
    run = started(begin(server, RUNS, text=text))
    row = page.locator("li.run", has_text=run)
    row.get_by_text("going on").wait_for()
    row.get_by_text("1 question for you").wait_for()  # without a reload
    row.get_by_role("link", name="w", exact=True).click()
    page.locator(".step[data-step=agree][data-state=asking]").wait_for()
    assert page.locator(".edge").count() == 4
    page.locator(".question").get_by_text(EVIL).wait_for()
    page.locator(".step[data-step=beside][data-state=done]").wait_for()
    assert states(page)["last"] == "waiting"
    # What a graph shows is said in words, too.
    label = step_of(page, "last").get_attribute("aria-label")
    assert label == "○ last waiting · tool; needs agree, beside"
    question = server.ask("/api/v1/approvals").json()["questions"][-1]["id"]
    assert begin(server, f"/approvals/{question}", yes=True).status == 200
    page.locator(".badge[data-state=success]").wait_for()
    assert set(states(page).values()) == {"done"}
    assert page.locator(".notice .card").count() == 0


def test_names_of_any_width_stay_in_their_boxes(visitor: Visitor, server: ApiServer) -> None:
    names = ["W" * 60, "build-the-image-of-the-server-for-arm64", "short"]
    names.append(names[1].replace("arm64", "amd64"))
    run = started(begin(server, RUNS, text=text_of(*(tool(name, "true") for name in names))))
    assert wait_over(server, run)["state"] == "success"
    page = visitor.go(f"/workflows?run={run}")
    page.locator(".step[data-state=done]").nth(len(names) - 1).wait_for()
    shown = [step_of(page, name).locator(".name").text_content() for name in names]
    assert len(set(shown)) == len(names) and shown[2] == "short"
    for name in names:
        box = step_of(page, name).locator(".body").bounding_box()
        text = step_of(page, name).locator(".name").bounding_box()
        assert box["x"] < text["x"] and text["x"] + text["width"] < box["x"] + box["width"]
        assert step_of(page, name).locator("title").text_content() == name


def test_a_graph_is_used_by_keyboard_and_its_address_kept(visitor: Visitor, flow: str) -> None:
    page = visitor.go(f"/workflows?run={flow}")
    page.locator(".step[data-state=failed]").wait_for()
    wanted = {"first": "done", "left": "left out", "wrong": "failed", "never": "not begun"}
    assert states(page) == wanted
    assert page.locator("#step").inner_text() == "wrong"  # what is worth looking at
    page.locator(".step-card").get_by_text("false ended with status 1").wait_for()
    step_of(page, "first").focus()
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.dataset.step") == "left"
    page.keyboard.press("Enter")
    assert page.locator("#step").inner_text() == "left" and "step=left" in page.url
    page.reload()
    page.locator(".step-card").get_by_text("It was left out").wait_for()
    visitor.go("/workflows?run=w-0000000000")
    banner(page).get_by_text("there is no such run").wait_for()
    visitor.said.clear()  # the browser tells of the 404 itself


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    return fetch_axe(tmp_path_factory.mktemp("axe"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_everybody_can_read_it(
    browser: Any,
    server: ApiServer,
    daemon: Daemon,
    ended: str,
    flow: str,
    axe: str,
    scheme: str,
    size: Any,
) -> None:
    visitor = Visitor(browser, server, color_scheme=scheme, viewport=size, bypass_csp=True)
    visitor.sign_in()
    with Running(daemon, f"read-{scheme}-{size['width']}", "sh", "-c", f"{AGENT}; echo done; cat"):
        for path, wanted in {
            "/": "li.cage",
            f"/cage?id={ended}": ".timeline .event",
            f"/decisions?cage={ended}": "table.board th .subject",
            f"/ledger?log={ended}&index=3": ".verdict-card[data-state=verified]",
            "/ledger": ".logs a",
            "/approvals": "main [role=status]",
            "/workflows": "li.run",
            f"/workflows?run={flow}": ".step[data-state=failed]",
        }.items():
            page = visitor.go(path)
            page.locator(wanted).first.wait_for()
            page.evaluate(axe)
            found = page.evaluate("async () => (await axe.run()).violations")
            assert [(one["id"], [n["html"][:200] for n in one["nodes"]]) for one in found] == [], (
                path
            )
            width = page.evaluate("document.documentElement.scrollWidth")
            assert width <= size["width"], path
    assert visitor.said == []
    visitor.close()


def test_it_is_used_by_keyboard(visitor: Visitor, ended: str) -> None:
    page = visitor.go("/?state=all")
    page.locator("li.cage").first.wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("/")
    page.keyboard.type(ended)
    page.locator("li.cage", has_text=ended).wait_for()
    page.wait_for_function("() => document.querySelectorAll('li.cage').length === 1")
    assert page.evaluate("document.activeElement.type") == "search"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.locator(".timeline .event").first.wait_for()
    page.get_by_role("button", name="Theme").press("Enter")
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "light"


def test_each_view_asks_once(visitor: Visitor, ended: str, flow: str) -> None:
    views = ("/", f"/cage?id={ended}", "/decisions", "/approvals", "/workflows")
    for path, most in dict.fromkeys((*views, f"/workflows?run={flow}"), 1).items():
        visitor.asked.clear()
        visitor.go(path)
        visitor.page.wait_for_load_state("load")
        visitor.page.locator("#link, .timeline").first.wait_for(state="attached")
        asked = [url for url in visitor.asked if "/api/" in url]
        assert 1 <= len(asked) <= most, asked


MANY = """
import os
for number in range(300_000):
    try: os.unlink(f"/tmp/{number % 500}")
    except OSError: pass
"""


def test_a_long_log_is_as_quick_as_a_short_one(visitor: Visitor, daemon: Daemon) -> None:
    """What it takes, in requests and in elements of the page, has a bound whatever its length."""
    cage = str(daemon.report("python3", "-c", MANY, uid=NOBODY, timeout=500)["cage"])
    for path, wanted, most in (
        (f"/cage?id={cage}&all=1", ".event", 1),
        (f"/cage?id={cage}", ".event", 1),
        (f"/ledger?log={cage}&index=150000", ".verdict-card[data-state=verified]", 8),
        ("/?state=all", "li.cage", 1),
    ):
        visitor.asked.clear()
        page = visitor.go(path)
        page.locator(wanted).first.wait_for()
        assert len([url for url in visitor.asked if "/api/" in url]) <= most, path
        assert page.evaluate("document.querySelectorAll('*').length") < 3000, path
    # The whole of it is read once, by and by.
    page = visitor.go(f"/decisions?cage={cage}&sort=file&text=%2Ftmp%2F499")
    page.locator("td.number", has_text="600").wait_for()
    assert page.evaluate("document.querySelectorAll('*').length") < 3000
