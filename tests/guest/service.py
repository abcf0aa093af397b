"""The service of this source tree in the guest's systemd, as it is installed but for the path of its
program, and an agent in a cage of it.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e import resources
from tests.e2e.daemon import BIN, REPO

UNITS = Path("/run/systemd/system")
"""Where units lie that are forgotten at the next boot."""
NAMES = ("akiosd.service", "akiosd.socket", "akios.slice")
SCOPE = "akios-cages.scope"
CTL = (str(BIN / "akiosctl"), "--socket", "/run/akios/control.sock")
CONFIG = Path("/etc/akios/akiosd.yaml")
PATIENCE_S = 900
"""A start takes its time here, and twenty of them theirs."""


def systemctl(*words: str) -> str:
    done = subprocess.run(["systemctl", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + journal()
    return done.stdout.strip()


def show(name: str, unit: str = "akiosd.service") -> str:
    return systemctl("show", "-P", name, unit)


def journal() -> str:
    words = ("journalctl", "-u", "akiosd", "-u", SCOPE, "-o", "cat", "--no-pager", "-n", "60")
    return subprocess.run(words, capture_output=True, text=True).stdout


def ctl(*words: str) -> str:
    done = subprocess.run([*CTL, *words], capture_output=True, text=True, cwd="/", timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr + journal()
    return done.stdout


@contextmanager
def serving(units: Path = UNITS) -> Iterator[None]:
    """The service runs, and is gone afterwards with its files."""
    for name in NAMES:
        text = (REPO / "systemd" / name).read_text().replace("/usr/bin/akiosd", str(BIN / "akiosd"))
        (units / name).write_text(text)
    CONFIG.parent.mkdir(exist_ok=True)
    CONFIG.write_text(f"restart: {{come_back_s: {PATIENCE_S}}}\n")
    subprocess.run(["groupadd", "-f", "akios"], check=True)
    systemctl("daemon-reload")
    try:
        systemctl("start", "akiosd")
        yield
    finally:
        subprocess.run(["systemctl", "stop", "akiosd.service", "akiosd.socket", SCOPE])
        for path in (*(units / name for name in NAMES), CONFIG):
            path.unlink()
        systemctl("daemon-reload")


class Agent:
    """One that counts aloud until it is told to end, with 7."""

    def __init__(self, place: Path) -> None:
        script = "n=0; while :; do n=$((n+1)); echo $n; read -r -t 0.2 x && break; done; echo last"
        self.client = subprocess.Popen(
            [*CTL, "run", "--json", "--workspace", place, "--", "bash", "-c", f"{script}; exit 7"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            bufsize=0,
        )
        assert self.client.stdout is not None
        first = self.client.stdout.readline()
        assert first == b"1\n", (first, self.client.communicate(), journal())
        # The newest: one of a test that failed may wait for its client still.
        line = max(json.loads(ctl("ps", "--json")), key=lambda line: int(line["started_ns"]))
        self.cage = str(line["cage"])

    def __enter__(self) -> Agent:
        return self

    def __exit__(self, *exc: object) -> None:
        self.client.kill()
        self.client.communicate()

    def group(self) -> str:
        """The control group that it is in."""
        (found,) = [
            line.partition("::")[2]
            for pid in resources.caged_processes()
            for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()
            if line.endswith(f"/{self.cage}")
        ][:1]
        return found

    def went_on(self) -> list[dict[str, object]]:
        """Tell it to end, and look at all that it said; the records of its log."""
        out, words = self.client.communicate(b"x\n", timeout=300)
        lines = out.split()
        numbers = [int(line) for line in lines[:-1]]
        assert (self.client.returncode, lines[-1]) == (7, b"last"), (words, journal())
        assert numbers == list(range(2, len(numbers) + 2))
        report = json.loads(words.splitlines()[-1])
        assert (report["kind"], report["exit_code"]) == ("exited", 7)
        assert f"{self.cage} goes on".encode() in words
        records = [
            json.loads(line) for line in ctl("events", "--json", "--cage", self.cage).splitlines()
        ]
        kinds = [record["kind"] for record in records]
        assert kinds.count("started") == kinds.count("end") == 1 and kinds[-1] == "end"
        assert "lost" not in kinds and "daemon_restarted" in kinds
        ctl("ledger", "verify", "--all")
        return records
