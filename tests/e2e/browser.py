"""Debian's Chromium, driven by Playwright, and somebody who looks at the pages of a server."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.api_server import ApiServer

CHROMIUM = Path("/usr/bin/chromium")
AXE = "axe-core@4.14.1"
PHONE, DESK = {"width": 380, "height": 800}, {"width": 1280, "height": 900}
_REPORTS = """
window.reports = [];
document.addEventListener("securitypolicyviolation",
  (event) => window.reports.push(`${event.violatedDirective} ${event.blockedURI}`));
"""


@contextmanager
def chromium() -> Iterator[Any]:
    """To be asked for contexts.  Skips by name where Playwright or Chromium is not there."""
    api = pytest.importorskip("playwright.sync_api", reason="needs pip install 'akios[page]'")
    if not CHROMIUM.exists():
        pytest.skip("needs Chromium (Debian package chromium)")
    with api.sync_playwright() as playwright:
        # Chromium has no sandbox of its own as root; what it opens is ours.
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


class Visitor:
    """One tab.  ``said``: what the browser's console was told as an error; ``reports``: what the
    page's policy stopped.
    """

    def __init__(self, browser: Any, server: ApiServer, **more: Any) -> None:
        self.server = server
        self.context = browser.new_context(**{"viewport": DESK, **more})
        self.context.add_init_script(_REPORTS)
        self.page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))

    def _hear(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.said.append(message.text)

    def sign_in(self) -> Visitor:
        self.page.goto(f"{self.server.url}/#token={self.server.token}")
        self.page.wait_for_selector("h1")
        return self

    def go(self, path: str) -> Any:
        self.page.goto(self.server.url + path)
        self.page.wait_for_selector("h1")
        return self.page

    @property
    def reports(self) -> list[str]:
        found: list[str] = self.page.evaluate("window.reports")
        return found

    def close(self) -> None:
        self.context.close()


def fetch_axe(where: Path) -> str:
    """The source of axe-core, which looks for what people who see or hear less would miss."""
    if shutil.which("npm") is None:
        pytest.skip("needs npm, for axe-core")
    done = subprocess.run(
        ["npm", "pack", "--silent", AXE], cwd=where, capture_output=True, text=True, timeout=300
    )
    if done.returncode:
        pytest.skip(f"npm brings no {AXE}: {done.stderr.strip()[-200:]}")
    subprocess.run(["tar", "xzf", done.stdout.strip()], cwd=where, check=True)
    return (where / "package/axe.min.js").read_text()
