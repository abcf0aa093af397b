"""What is written into the state memory of a cage (:mod:`akiosd.cage.state_format`), as values.

    cage      written once, before the agent begins: what was asked for and what was made
    life      written whenever something happened to it: replaces what was there
    programs  of a standing cage, written whenever one of them changes
    asked     of a standing cage, written after that when another one is asked for; an older akiosd
              neither writes nor reads it

The spending and the gateway have sections of their own, written where they are decided
(``akiosd/daemon/gateways``).  A field that is added gets a default: an older memory lacks it, and
an older akiosd passes over it.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from akiosd.cage.asked_programs import AskedState
from akiosd.cage.machine import Life
from akiosd.cage.programs import Program
from akiosd.cage.state_format import StateError
from akiosd.daemon.base.peers import Peer
from akiosd.daemon.cages.prepared_cage import Caller
from akiosd.values.ids import DirectoryId, Lines
from akiosd.values.posture import LayerState
from akiosd.wire.gateway import Listener
from akiosd.wire.messages import Run

CAGE, LIFE, PROGRAMS, ASKED = "cage", "life", "programs", "asked"
"""Names of the sections."""

Section = TypeVar("Section", "CageState", "LifeState", "ProgramsState", AskedState)
_encode = msgspec.msgpack.Encoder().encode


class CageState(msgspec.Struct, frozen=True, kw_only=True):
    """What does not change while the cage lives.

    ``started_clock_ns`` is CLOCK_MONOTONIC, ``started_ns`` Unix time.  ``pump_table`` is what the
    filter of the cage was compiled to: it is never compiled again.  ``core`` names the descriptors
    that are kept together, in their order; ``listeners`` says what the gateway's sockets are for.
    """

    request: Run
    peer: Peer
    caller: Caller
    order: int
    started_ns: int
    started_clock_ns: int
    pid: int
    host_id: int
    host_gid: int
    owner: int
    uid_lines: Lines
    workspace_id: DirectoryId
    workspace_name: bytes
    disk_size: int
    disk_kind: str
    pump_table: bytes
    git: DirectoryId | None = None
    git_upper: str = ""
    posture: tuple[LayerState, ...] = ()
    system: tuple[tuple[int, int], ...] = ()
    listeners: tuple[Listener, ...] = ()
    core: tuple[str, ...] = ()
    certificate: bytes = b""
    certificate_key: bytes = b""

    def __repr__(self) -> str:
        return f"CageState(order={self.order})"  # it holds a key


class LifeState(msgspec.Struct, frozen=True, kw_only=True):
    """What changes.  ``said`` is what init said since ``go``, as it came; ``attached``: a
    client has the output of a detached cage; ``agent_clock_ns``
    (CLOCK_MONOTONIC) is when the agent's clocks began, ``started_index`` where the log has, or was
    to have, the record of its start, -1 before that.  ``output``: bytes of it that akiosd read.
    ``seen_ns`` is Unix time.  ``paused`` is a standing cage's; ``lost``: why what it changed is not
    whole.

    ``adoptions`` counts the times in a row that an akiosd began to go on with this cage and did not
    get through.
    """

    life: Life = Life()
    said: tuple[bytes, ...] = ()
    detached: bool = False
    attached: bool = False
    agent_clock_ns: int = 0
    started_index: int = -1
    audit_bytes: int = 0
    dead_ends: int = 0
    refusals: int = 0
    redactions: int = 0
    output: int = 0
    outdated: bool = False
    paused: bool = False
    lost: str = ""
    adoptions: int = 0
    akiosd: str = ""
    seen_ns: int = 0


class ProgramsState(msgspec.Struct, frozen=True, kw_only=True):
    """The programs of a standing cage that are known, and how many were ever asked for."""

    known: tuple[Program, ...] = ()
    count: int = 0


def encode(section: CageState | LifeState | ProgramsState | AskedState) -> bytes:
    """The bytes of a section."""
    return _encode(section)


def decode(sections: dict[str, bytes], name: str, kind: type[Section]) -> Section:
    """The section ``name``.  Raises StateError when it is not there, or was written by an akiosd
    that this one does not understand.
    """
    if name not in sections:
        raise StateError(f"what akiosd kept of it lacks the section {name}", name)
    try:
        return msgspec.msgpack.decode(sections[name], type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        what = f"what akiosd kept of it has a section {name} that this akiosd cannot read"
        raise StateError(f"{what}: {error}", name) from None
