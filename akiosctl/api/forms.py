"""The forms of answers that only the API has; the others are those of ``--json``
(``akiosctl.help.schemas``).
"""

from __future__ import annotations

from typing import Literal

from akiosctl.help.schemas import Cage, Commit, Finding, Form, Record, Report


class Health(Form):
    """``akiosd`` is ``away`` when it does not answer; ``next`` then says what helps."""

    status: Literal["ok", "degraded"]
    akiosd: Literal["running", "away"]
    next: str


class Version(Form):
    software: str
    api: str


class CagePage(Form):
    """``next``: the cursor of the next page; None on the last."""

    cages: list[Cage]
    next: str | None


class RecordPage(Form):
    """``next``: the cursor of the next page; None where the log ends for now.  A page may hold
    fewer records than were asked for, or none, and not be the last.
    """

    log: str
    records: list[Record]
    next: str | None


class Consistency(Form):
    """That the tree of ``old_size`` leaves is the beginning of the one of ``size`` (RFC 6962,
    2.1.2); hashes are hexadecimal.
    """

    origin: str
    old_size: int
    size: int
    root: str
    path: list[str]
    checkpoint: str
    vkey: str


class Progress(Form):
    """In steps of the work; ``total`` is 0 while it is not known."""

    done: int
    total: int


class JobError(Form):
    what: str
    where: str
    next: str


class Job(Form):
    """Slow work.  ``error`` is there when it ``failed``, and a ``result`` when it is ``done``."""

    id: str
    about: str
    state: Literal["running", "done", "failed"]
    created_ns: int
    progress: Progress
    error: JobError | None


class VerifyJob(Job):
    """A verification."""

    kind: Literal["verify"]
    result: Report | None


class CommitJob(Job):
    """A commit."""

    kind: Literal["commit"]
    result: Commit | None


class PolicyLayer(Form):
    layer: str
    file: str


class PolicyList(Form):
    """``layers`` hold for every run, the administrator's first; ``names`` can be explained: what
    they give alone, and with each profile.
    """

    layers: list[PolicyLayer]
    names: list[str]


class PolicyChecked(Form):
    """``widens``: what the system policy would not let a project ask for."""

    ok: Literal[True]
    widens: list[str]


class TextFindings(Form):
    """Where personal data is in a text, never what it is."""

    findings: list[Finding]


class MaskedText(Form):
    text: str
    findings: int


class SessionMade(Form):
    """The cookie is in the headers."""

    scopes: list[str]
    expires_ns: int


class Gone(Form):
    """Nothing is left of it."""

    removed: Literal[True]
