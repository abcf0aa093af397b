"""Where an administrator's files are, unless one of them or the command line says otherwise."""

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
