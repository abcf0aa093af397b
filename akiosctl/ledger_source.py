"""Where a ledger verb reads a log from: a directory or archive, or the daemon.

From the daemon, root and admins get the log's directory and read its files.  Anybody else may not
open them: their bytes come over the socket (``socket_log``).  Whichever way, they are judged by the
same function (``akiosd.ledger.judge``), with everything that is known: what the user kept, what
witnesses cosigned, the host's log.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import click

from akiosctl.cages import find_log
from akiosctl.client import Client, DaemonError
from akiosctl.hashing import HASHER
from akiosctl.known_places import find_alarm, names_by_daemon, names_on_disk
from akiosctl.pins import (
    KeptDamagedError,
    Known,
    known_elsewhere,
    load_known,
    pinned_origins,
    trusted_key,
)
from akiosctl.progress import Progress
from akiosctl.small_files import read_key_text
from akiosctl.socket_log import ByDaemon
from akiosctl.watched_log import WatchedPlace
from akiosd.errors import AkiosError, LedgerError
from akiosd.kernel.scm_rights import close_fds
from akiosd.ledger.epochs import host_of
from akiosd.ledger.host_word import HostWord
from akiosd.ledger.judge import NOTHING, Trust, blame_host, cosigned_size
from akiosd.ledger.key_list import log_key
from akiosd.ledger.note import NoteError, Vkey
from akiosd.ledger.quorum import Quorum, all_of
from akiosd.ledger.report import Anchor, LogReader, Report, Verdict, describe_anchors
from akiosd.store.fsck import (
    Foreign,
    Nowhere,
    OnDisk,
    Place,
    ask_host,
    name_log,
    read_trust,
    refusal,
    verify_place,
)
from akiosd.values.ids import HOST_LOG
from akiosd.wire.messages import LedgerInfo, LedgerReply


@dataclass
class HostSource:
    """The host's log, an anchor that is asked: where it is and whose word is taken, or why it
    cannot be had.
    """

    place: Place
    trust: Trust | None = None
    failure: Report | None = None

    def ask(self, cage: str, quorum: Quorum) -> HostWord:
        """``quorum`` is asked of it on top of what is known."""
        if self.failure is not None or self.trust is None:
            return HostWord(self.failure or Report(Verdict.INCOMPLETE, detail="it was not given"))
        known = load_known(self.trust.vkey.name)
        trust = _with_known(self.trust, known, quorum)
        with Progress("verifying the host's log", "records") as progress:
            word = ask_host(WatchedPlace(self.place, progress), trust, cage, HASHER)
        return replace(word, cosigned=cosigned_size(trust)) if quorum.asks else word


@dataclass
class LogSource:
    """One log.  ``trust`` says whose word is taken.

    ``cage`` is the log's name, ``""`` where only the log itself says it.  ``met``: where it was
    met, as known hosts are kept: one place may have several names.  ``notes`` are for people.
    ``watch`` counts the records that a verification has read; without it a terminal is told.
    """

    cage: str
    place: Place
    trust: Trust
    met: tuple[str, ...]
    host: HostSource | None = None
    path: Path | None = None
    notes: list[str] = field(default_factory=list)
    watch: Progress | None = None

    @property
    def vkey(self) -> Vkey:
        """The key that is trusted for it."""
        return self.trust.vkey

    @contextmanager
    def reader(self) -> Iterator[LogReader]:
        """Its files, to be used in ``with``."""
        with self.place.open() as files:
            yield files

    def verify(
        self, pin: bytes | None = None, quorum: Quorum = NOTHING, word: HostWord | None = None
    ) -> Report:
        """The report on it, with ``pin``, everything that the user keeps, and the host's log taken
        into account.

        ``word``: what the host's log said when it was asked before.
        """
        try:
            return find_alarm(self.met, self.vkey.name) or self._verify(pin, quorum, word)
        except KeptDamagedError as error:
            return damaged(error, self.vkey.name)

    def _verify(self, pin: bytes | None, quorum: Quorum, word: HostWord | None) -> Report:
        known = load_known(self.vkey.name)
        mine, hosts = _share_quorum(quorum, known, pin, self.host is not None)
        if word is None and self.host is not None:
            word = self.host.ask(self.cage, hosts)
        trust = _with_known(self.trust, known, mine, pin)
        with self.watch or Progress("verifying", "records") as progress:
            place = WatchedPlace(self.place, progress)
            report = verify_place(place, trust, self.cage, word, HASHER)
        notes = list(self.notes)
        if word is not None and word.report.anchors:
            notes.append(f"the host log is anchored to: {describe_anchors(word.report)}")
        others = known_elsewhere(host_of(self.vkey.name))
        if others:
            notes.append(f"nothing of this host was ever pinned, but of {', '.join(others)}")
        return replace(report, notes=(*report.notes, *notes))

    def read_word(self) -> HostWord:
        """What the host's log, if this is it, says about all cages."""
        return HostSource(self.place, self.trust).ask("", NOTHING)


def damaged(error: KeptDamagedError, origin: str = "") -> Report:
    """The verdict where something is kept, and cannot be used."""
    return Report(
        Verdict.INCOMPLETE, origin, first_bad=error.where, detail=f"{error.what}; {error.next}"
    )


def _share_quorum(
    quorum: Quorum, known: Known, pin: bytes | None, has_host: bool
) -> tuple[Quorum, Quorum]:
    """Of which log cosignatures are asked: of this one, or, where it has none, of the host's, which
    lists it.
    """
    if not quorum.asks or not has_host:
        return quorum, NOTHING
    own = any(note is not None and _meets(quorum, note) for note in (known.cosigned, pin))
    return (quorum, NOTHING) if own else (NOTHING, quorum)


def _meets(quorum: Quorum, note: bytes) -> bool:
    try:
        return quorum.is_met(note)
    except NoteError:
        return False  # a damaged one is found where the log is judged


def _with_known(trust: Trust, known: Known, quorum: Quorum, pin: bytes | None = None) -> Trust:
    """What the user keeps is always asked for: a pin, and the witnesses that cosigned once."""
    if not quorum.asks and known.cosigned is not None:
        quorum = all_of(known.witnesses)
    pin = pin if pin is not None else known.pin
    cosigned = tuple(dict.fromkeys(note for note in (known.cosigned, pin) if note is not None))
    return replace(trust, pin=pin, cosigned=cosigned, quorum=quorum)


@contextmanager
def files_in_words() -> Iterator[None]:
    """What the file system has against reading or writing a log, as an :class:`AkiosError`."""
    try:
        yield
    except OSError as error:
        if error.filename is None or error.strerror is None:
            raise
        raise AkiosError(
            f"the file cannot be used: {error.strerror}",
            str(error.filename),
            "check the path and its mode",
        ) from None


def read_key(vkey: str | None) -> Vkey | None:
    """``--vkey``: a key, or a file that holds one."""
    if vkey is None:
        return None
    return Vkey.parse(read_key_text(vkey))


@contextmanager
def open_source(
    ctx: click.Context,
    cage: str,
    directory: Path | None,
    vkey: str | None,
    host: Path | None = None,
    key_list: bytes | None = None,
) -> Iterator[LogSource]:
    """The log of CAGE by the daemon, or the one at ``directory`` (``--dir``), for which no daemon
    is asked.
    """
    key = read_key(vkey)
    if directory is not None:
        with files_in_words():
            if not os.path.lexists(directory) and host is None:
                what = "there is no such log"
                raise AkiosError(
                    what, str(directory), "give a log's directory, or an archive of one"
                )
            yield from_files(cage, directory, key, host, key_list)
        return
    with ctx.obj.connect() as client:
        log = find_log(client, cage) if cage else ""
        with open_from_daemon(client, log, key, key_list) as source:
            yield source


@contextmanager
def open_from_daemon(
    client: Client, cage: str, key: Vkey | None = None, key_list: bytes | None = None
) -> Iterator[LogSource]:
    """The log of the cage of this id (``""``: the host's).  ``client`` stays the caller's."""
    fds: list[int] = []
    try:
        yield from_daemon(client, cage, key, fds, key_list)
    finally:
        close_fds(fds)


class HostLogError(AkiosError):
    """The host's log was asked for, and cannot be: ``report`` says so of the cage's."""

    def __init__(self, found: Report) -> None:
        self.report = blame_host(found)
        super().__init__(self.report.detail, self.report.first_bad, "akiosctl ledger verify")


# ---- from files ----------------------------------------------------------------------------------


def from_files(
    cage: str,
    directory: Path,
    key: Vkey | None,
    host: Path | None = None,
    key_list: bytes | None = None,
) -> LogSource:
    """Raises ``OSError``, ``LedgerError`` and :class:`HostLogError` where nothing says whose word
    to take.
    """
    host_source = _host_from_files(host, key) if host is not None else None
    if key is None and host_source is not None:
        if host_source.failure is not None:
            raise HostLogError(host_source.failure)
        if not os.path.lexists(directory) and host_source.trust is not None:
            key = host_source.trust.vkey
    trust = read_trust(directory, key, key_list=key_list)
    log = name_log(directory, trust, cage)
    if log:
        trust = replace(trust, vkey=log_key(trust.vkey, log))
    if key is None:
        trust = _prefer_kept(trust)
    return LogSource(
        log, OnDisk(directory), trust, names_on_disk(directory), host_source, directory
    )


def _host_from_files(host: Path, key: Vkey | None) -> HostSource:
    try:
        trust = read_trust(host, log_key(key, HOST_LOG) if key is not None else None)
    except (OSError, LedgerError) as error:
        return HostSource(OnDisk(host), failure=refusal(error, str(host)))
    return HostSource(OnDisk(host), trust if key is not None else _prefer_kept(trust))


def _prefer_kept(trust: Trust) -> Trust:
    """A key that was kept says more than one that came with the log."""
    kept = trusted_key(trust.vkey.name)
    if kept is None:
        return trust
    return replace(trust, vkey=log_key(kept, trust.vkey.name.rpartition("/")[2]), beside=False)


# ---- by the daemon -------------------------------------------------------------------------------


def from_daemon(
    client: Client,
    cage: str,
    key: Vkey | None,
    fds: list[int],
    key_list: bytes | None = None,
    ask_host: bool = True,
) -> LogSource:
    """Descriptors that come are put into ``fds``, the caller's.  Raises :class:`DaemonError` where
    it refuses.
    """
    reply, more = client.call(LedgerInfo(cage=cage), LedgerReply)
    fds += more
    trust = _trust_daemon(reply, key, key_list)
    log = cage or HOST_LOG
    met = (f"socket {os.path.realpath(client.path)}", *names_by_daemon(reply.path, more))
    source = LogSource(log, _place(client, cage, reply, more, fds), trust, met)
    if not ask_host:
        return source
    if cage and not reply.host:
        source.notes.append("the host's log is not for this user: it was not asked")
    elif cage:
        source.host = _host_from_daemon(client, trust, key is None, fds)
    return source


def _trust_daemon(reply: LedgerReply, key: Vkey | None, key_list: bytes | None) -> Trust:
    """Its own word is the last to be taken: after a key that was given, and one that was kept."""
    name = reply.origin.rpartition("/")[2]
    trusted = key or trusted_key(reply.origin)
    beside = Vkey.parse(reply.vkey)
    vkey = log_key(trusted, name) if trusted is not None else beside
    same = host_of(vkey.name) == host_of(beside.name)
    head = (
        Anchor("akiosd's own memory", reply.size, reply.root, vouches=False) if reply.size else None
    )
    return Trust(vkey, head=head, key_list=key_list or (reply.keys or None if same else None))


def _host_from_daemon(client: Client, trust: Trust, may_prefer: bool, fds: list[int]) -> HostSource:
    try:
        reply, more = client.call(LedgerInfo(), LedgerReply)
    except DaemonError as error:
        failure = Report(Verdict.INCOMPLETE, first_bad="host log", detail=error.what)
        return HostSource(Nowhere(HOST_LOG), failure=failure)
    fds += more
    mine = Trust(log_key(trust.vkey, HOST_LOG), head=_trust_daemon(reply, None, None).head)
    return HostSource(
        _place(client, "", reply, more, fds), _prefer_kept(mine) if may_prefer else mine
    )


def _place(client: Client, cage: str, reply: LedgerReply, got: list[int], fds: list[int]) -> Place:
    """What came is read as the caller; where that is not allowed, its bytes come over the
    socket.
    """
    if not got:
        return Nowhere(reply.path)
    kind = os.fstat(got[0]).st_mode
    if stat.S_ISREG(kind) and not fcntl.fcntl(got[0], fcntl.F_GETFL) & os.O_PATH:
        return ByDaemon(client, cage, got[0])
    if not stat.S_ISDIR(kind):
        return Foreign(reply.path)
    try:
        fds.append(os.open(f"/proc/self/fd/{got[0]}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        os.close(os.open("checkpoint", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=fds[-1]))
    except PermissionError:
        return ByDaemon(client, cage)
    except OSError:
        pass  # what is wrong with it the verdict says
    return OnDisk(fds[-1])


def refused(cage: str, error: DaemonError) -> Report:
    """The verdict where the daemon gives no log of which a checkpoint is kept; else ``error`` is
    raised.
    """
    origins = pinned_origins(cage) if cage else []
    if not origins:
        raise error
    detail = f"a checkpoint of it is kept, and akiosd gives no such log: {error.what}"
    return Report(Verdict.INCOMPLETE, origins[0], first_bad=cage, detail=detail)
