"""The administrator's policy as akiosd has it; where no akiosd answers, as its file says.

Whoever leaves this layer out deceives nobody but himself: akiosd checks what a run asks for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from akiosctl.client import Client
from akiosctl.policy_files import read_system
from akiosctl.render import note
from akiosd.errors import AkiosError, PolicyError
from akiosd.policy.system import SystemPolicy, unpack
from akiosd.policy.yaml_lines import load_positions
from akiosd.values.places import CONFIG_FILE, SYSTEM_FILE
from akiosd.wire.messages import SystemPolicyInfo, SystemPolicyReply


def ask_system(client: Client) -> SystemPolicy:
    """The system policy that the daemon holds."""
    reply, _ = client.call(SystemPolicyInfo(), SystemPolicyReply)
    return unpack(reply.packed)


def find_system(globals_: Any) -> SystemPolicy:
    """From the daemon; without one from the file that akiosd would read, which is said."""
    try:
        with globals_.connect() as client:
            return ask_system(client)
    except PolicyError:
        raise
    except AkiosError as error:
        system = read_system(place_of_system())
        words = "" if system.exists else ", which does not exist: the policy AKIOS comes with"
        note(f"{error.what}; the system policy is taken from {system.file}{words}")
        return system


def place_of_system() -> Path:
    """Where ``akiosd.yaml`` says that the system policy is, if this user can read that."""
    try:
        content, _ = load_positions(Path(CONFIG_FILE).read_bytes(), CONFIG_FILE)
    except (OSError, PolicyError):
        return Path(SYSTEM_FILE)
    named = content.get("system_policy") if isinstance(content, dict) else None
    return Path(named) if isinstance(named, str) else Path(SYSTEM_FILE)
