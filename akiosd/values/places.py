"""Where an administrator's files are, unless one of them or the command line says otherwise; and
what of a cage's tree is its own.
"""

from __future__ import annotations

SYSTEM_FILE = "/etc/akios/policy.yaml"
CONFIG_FILE = "/etc/akios/akiosd.yaml"
DEFAULT_SOCKET = "/run/akios/control.sock"
START_LINE = "start.json"
"""In the runtime directory: the options that akiosd was started with, a list of words."""
DATA = {"input": "data/input", "output": "data/output"}
"""Where a standing cage has its data, in the project: the kind of the bind, and its path there."""

DIRECT = (
    f"{DATA['output']} is written at once and with your uid: it counts to no disk limit of the"
    " cage, and no name in it is protected"
)
"""What is to be known of a directory that is the user's own and no overlay."""

# Names in the root of every cage, and directories that hold other mounts of a cage.
_SYSTEM_NAMES = frozenset(b"bin boot dev etc lib lib32 lib64 libx32 proc sbin sys usr".split())
_SHARED_PLACES = frozenset((b"/run", b"/tmp", b"/var", b"/var/tmp"))
PLACES_FOR_FILES = frozenset((b"/etc/gitconfig",))
"""Files of a cage's own system that a client's file may cover."""


def is_system_path(path: bytes) -> bool:
    """Whether a tree at this absolute path would lie in, or over, what every cage has there by
    itself.
    """
    return (
        path == b"/"
        or path in _SHARED_PLACES
        or any(name in _SYSTEM_NAMES for name in path.split(b"/")[1:2])
    )
