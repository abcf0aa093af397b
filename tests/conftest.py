"""Named sets, and a watch on the machine's device files.

A named set holds tests that take too long for every run; ``packaging/test --set NAME`` chooses one.

``@pytest.mark.named_set("histories")`` puts a test into the set ``histories``.  Without ``--set``
such tests are left out without a word; with ``--set NAME`` only that set's tests are run, and with
``--set all`` those of every set.
"""

from __future__ import annotations

import gc
import os
import signal
import stat
from collections.abc import Generator

import pytest
from hypothesis import settings

# A busy machine is no fault of what is tested.
settings.register_profile("akios", deadline=None)
settings.load_profile("akios")

# What ten thousand tests consist of is needed to the end: to look through it for garbage again and
# again, while it is made and later, takes seconds.
gc.disable()


# A shell's background job ignores SIGINT and SIGQUIT, nohup SIGHUP, and what they start does, too:
# no test could end anything by them.
for _signal in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(_signal) == signal.SIG_IGN:
        _is_int = _signal == signal.SIGINT
        signal.signal(_signal, signal.default_int_handler if _is_int else signal.SIG_DFL)


_SET_TIMEOUT_S = 1800
"""Of a test in a named set that sets none: it is there since it takes long."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--set", default="", metavar="NAME", help="run only the tests of this named set (or: all)"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wanted = config.getoption("--set")
    chosen, left_out = [], []
    for item in items:
        sets = {mark.args[0] for mark in item.iter_markers("named_set")}
        fits = not sets if not wanted else bool(sets) if wanted == "all" else wanted in sets
        (chosen if fits else left_out).append(item)
        if sets and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(_SET_TIMEOUT_S))
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = chosen


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()
    gc.enable()


# Most tests run as root, and a chmod that follows a link or a closed descriptor's number reaches
# these; then no ordinary user's program starts any more, on the whole machine.
_DEVICES = ("/dev/null", "/dev/zero", "/dev/tty")


def _modes() -> dict[str, int]:
    return {name: os.stat(name).st_mode for name in _DEVICES}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Stops the whole run after the test in which a device file of the machine changed its mode,
    and puts the mode back.
    """
    before = _modes()
    outcome = yield
    changed = {name: mode for name, mode in before.items() if os.stat(name).st_mode != mode}
    for name, mode in changed.items():
        os.chmod(name, stat.S_IMODE(mode))
        item.session.shouldfail = f"{name} had another mode after {item.nodeid}; it was put back"
    return outcome
