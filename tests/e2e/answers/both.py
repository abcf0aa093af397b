"""The same system calls of the same state, in a cage and outside: what each is answered."""

from __future__ import annotations

import errno
import shutil
import subprocess
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from akiosd.kernel.seccomp import resolve
from tests.e2e.answers.shapes import Shape, shapes
from tests.e2e.daemon import NOBODY, Daemon

SOURCE = Path(__file__).with_name("ask.c")
_USER = "1000"
"""Whom an agent is inside, and so outside: ids mean the same."""

# An ordinary user in namespaces of its own, as in a cage: signals, queues and addresses reach
# nobody.  The shell stays pid 1, as init does.
_OUTSIDE = """
ip link set lo up && mount -t tmpfs -o size=64m none /dev/shm && chmod 1777 /dev/shm && cd / &&
exec setpriv --reuid USER --regid USER --clear-groups --inh-caps=-all sh -c '"$@"; true' sh "$@"
""".replace("USER", _USER)
_NAMESPACES = ("--mount", "--net", "--ipc", "--uts", "--pid", "--cgroup", "--fork", "--mount-proc")


class Answer(msgspec.Struct, frozen=True):
    """One call: what it was answered in a cage, and outside."""

    name: str
    shape: Shape
    inside: str
    outside: str

    @property
    def text(self) -> str:
        args = " ".join(hex(value) if isinstance(value, int) else value for value in self.shape)
        return f"{self.name}({args}): {self.inside} inside, {self.outside} outside"


def shapes_of(names: Iterable[str], count: int, seed: int) -> list[tuple[str, Shape]]:
    """Of those that this machine has; sync(2) takes nothing, and the host's disks would work for it
    each time.
    """
    return [
        (name, shape)
        for name in sorted(names)
        if resolve(name) >= 0
        for shape in shapes(name, 1 if name == "sync" else count, seed)
    ]


def compare(daemon: Daemon, asked: Sequence[tuple[str, Shape]], trace: str) -> list[Answer]:
    """Ask both; what differs is asked once more with time to spare, as a machine under load may
    make a call wait that does not.
    """
    answers = list(_ask(daemon, asked, trace, 60))
    doubtful = [at for at, answer in enumerate(answers) if answer.inside != answer.outside]
    again = _ask(daemon, [asked[at] for at in doubtful], trace, 1000)
    for at, answer in zip(doubtful, again, strict=True):
        answers[at] = answer
    return answers


def _ask(
    daemon: Daemon, asked: Sequence[tuple[str, Shape]], trace: str, wait_ms: int
) -> Iterator[Answer]:
    text = "".join(f"{resolve(name)} {' '.join(map(str, shape))}\n" for name, shape in asked)
    where = daemon.workspace("answers", uid=NOBODY)
    program = where / "ask"
    command = ["gcc", "-O1", "-Wall", "-Wextra", "-Werror", str(SOURCE), "-o", str(program)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shutil.copy(program, control := daemon.base / "ask-outside")
    words = ("/dev/shm/answers", str(wait_ms))
    outside: list[subprocess.CompletedProcess[str]] = []
    thread = threading.Thread(target=lambda: outside.append(_run_outside(control, words, text)))
    thread.start()
    try:
        flags = ["--discard", "--trace", trace]
        inside = daemon.run(
            program, *words, cwd=where, uid=NOBODY, flags=flags, input=text, timeout=900
        )
    finally:
        thread.join()
    assert inside.returncode == outside[0].returncode == 0, (inside.stderr, outside[0].stderr)
    both = zip(asked, _classes(inside.stdout), _classes(outside[0].stdout), strict=True)
    for (name, shape), one, other in both:
        yield Answer(name, shape, one, other)


def _run_outside(
    program: Path, words: Sequence[str], text: str
) -> subprocess.CompletedProcess[str]:
    command = ["unshare", *_NAMESPACES, "--propagation", "private", "sh", "-c", _OUTSIDE, "sh"]
    return subprocess.run(
        [*command, str(program), *words], input=text, capture_output=True, text=True, timeout=900
    )


def _classes(output: str) -> Iterable[str]:
    return [_class(line) for line in output.splitlines()]


def _class(answer: str) -> str:
    """An errno's name; 0; + for a number of something; or how the caller ended."""
    if not answer.lstrip("-").isdigit():
        return answer
    value = int(answer)
    if -4096 < value < 0:
        return errno.errorcode.get(-value, answer)
    return "0" if value == 0 else "+"
