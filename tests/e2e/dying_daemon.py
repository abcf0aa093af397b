"""akiosd that is killed at one step of the first start of a cage, or whose keeper is.

    python dying_daemon.py STEP WHO MARK AKIOSD ARGUMENT...

``STEP`` is a key of :data:`STEPS`, ``WHO`` akiosd, keeper or both.  ``MARK`` is a file that is made
then: an akiosd that finds it lives on.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any

from akiosd.daemon import main
from akiosd.daemon.base.status_channel import StatusChannel
from akiosd.daemon.cages.keep_cage import KeptCage
from akiosd.daemon.cages.run_cage import Cage
from akiosd.daemon.host import Host

Method = Callable[..., Any]
STEPS: dict[str, tuple[type, str, bool]] = {
    "before it is kept": (KeptCage, "keep", False),
    "once it is kept": (KeptCage, "keep", True),
    "before go": (StatusChannel, "send", False),
    "after go": (StatusChannel, "send", True),
    "once it runs": (Cage, "_record_start", False),
}
"""The method of a class, and whether it is done by then."""
keepers: list[int] = []


def die(who: str, mark: Path) -> None:
    mark.touch()
    if who != "akiosd":
        os.kill(keepers[-1], signal.SIGKILL)
    if who != "keeper":
        os.kill(os.getpid(), signal.SIGKILL)


def dying(method: Method, is_done: bool, who: str, mark: Path) -> Method:
    async def instead(self: object, *arguments: Any) -> Any:
        is_it = not mark.exists() and (not isinstance(self, StatusChannel) or arguments[0] == "go")
        if is_it and not is_done:
            die(who, mark)
        result = await method(self, *arguments)
        if is_it and is_done:
            die(who, mark)
        return result

    def at_once(self: object) -> Any:
        if not mark.exists():
            die(who, mark)
        return method(self)

    return instead if iscoroutinefunction(method) else at_once


def knowing(method: Method) -> Method:
    async def instead(self: Host) -> Any:
        result = await method(self)
        keepers.append(self.keeper.pid if self.keeper is not None else 0)
        return result

    return instead


if __name__ == "__main__":
    step, who, mark = sys.argv[1:4]
    owner, name, is_done = STEPS[step]
    setattr(owner, name, dying(getattr(owner, name), is_done, who, Path(mark)))
    Host.open_keeper = knowing(Host.open_keeper)  # type: ignore[method-assign]
    sys.exit(main.main(sys.argv[5:]))
