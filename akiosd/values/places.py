"""Where an administrator's files are, unless one of them or the command line says otherwise."""

from __future__ import annotations

SYSTEM_FILE = "/etc/akios/policy.yaml"
CONFIG_FILE = "/etc/akios/akiosd.yaml"
DATA = {"input": "data/input", "output": "data/output"}
"""Where a standing cage has its data, in the project: the kind of the bind, and its path there."""
