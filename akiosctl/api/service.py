"""What the handlers share: the way to akiosd, the jobs, the sessions."""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus

from akiosctl.api.jobs import Jobs
from akiosctl.api.metrics.follow import Meter
from akiosctl.api.once import Once
from akiosctl.api.problems import Refusal
from akiosctl.api.readings import Readings
from akiosctl.api.scratch import Scratch
from akiosctl.api.sessions import Sessions
from akiosctl.api.tokens import TokenFile
from akiosctl.api.views.cages import Watch
from akiosctl.api.views.tallies import Tallies
from akiosctl.api.views.workflows import Journals
from akiosctl.api.workflow_runs import Runs
from akiosctl.client import Client
from akiosctl.journal_file import Kept, read_kept
from akiosctl.verbs.events import events_path
from akiosd.wire.messages import CageInfo, Cages, List


@dataclass
class Service:
    """``socket`` is akiosd's control socket; ``tls``: whether this server speaks TLS.

    ``is_system``: it is run for everybody, so a request reaches no directory of the host's.
    """

    socket: str
    tokens: TokenFile
    tls: bool = False
    is_system: bool = False
    jobs: Jobs = field(default_factory=Jobs)
    sessions: Sessions = field(default_factory=Sessions)
    once: Once = field(default_factory=Once)
    meter: Meter = field(default_factory=Meter)
    watch: Watch = field(default_factory=Watch)
    tallies: Tallies = field(default_factory=Tallies)
    readings: Readings = field(default_factory=Readings)
    journals: Journals = field(default_factory=Journals)
    runs: Runs = field(default_factory=Runs)

    @property
    def path(self) -> str:
        """``socket``, for what the verbs do: there it has this name."""
        return self.socket

    @property
    def scratch(self) -> Scratch:
        """Directories of cages that came without one, beside the tokens."""
        return Scratch(self.tokens.path.parent / "workspaces")

    @property
    def events(self) -> str:
        """The events socket beside the control socket."""
        return events_path(self.socket)

    def close(self) -> None:
        """No job and no run of a workflow begins any more, and those runs that go on end."""
        self.jobs.close()
        self.runs.close()

    def connect(self) -> Client:
        """A connection to akiosd, to be used in ``with``."""
        return Client(self.socket)


def find_cage(client: Client, cage: str) -> CageInfo:
    """The cage of this id, if the user of this server may see it; else a 404, whoever's it is."""
    # The ids after all but the last character of one begin with that one or its near neighbours.
    reply, _ = client.call(List(everyone=True, after=cage[:-1]), Cages)
    found = next((one for one in reply.cages if one.cage == cage), None)
    if found is None:
        raise no_such_cage(cage)
    return found


def find_kept(run: str) -> Kept:
    """The run of a workflow of this name, if it is of the user of this server; else a 404."""
    kept = read_kept(run)
    if kept is None:
        what = "there is no such run, or it is not this user's"
        raise Refusal(HTTPStatus.NOT_FOUND, what, run, "list them: GET /api/v1/workflows/runs")
    return kept


def no_such_cage(cage: str) -> Refusal:
    """The words for one that is not there, or that this server may not see."""
    return Refusal(
        HTTPStatus.NOT_FOUND,
        "there is no such cage, or it is not this user's",
        cage,
        "list them: GET /api/v1/cages",
    )
