"""SIGHUP: the administrator's files are read again while cages run.

A file that cannot be read or understood changes nothing: the settings that hold stay, and that is
said loudly, in akiosd's log and in the host's ledger.  Cages keep the policy that they began with;
their gateways get new prices.
"""

from __future__ import annotations

import time
from pathlib import Path

from akiosd.daemon.base.guarded import Tasks
from akiosd.daemon.base.log import get_log
from akiosd.daemon.base.peers import Gate
from akiosd.daemon.base.settings import Change, Overrides, Settings, first, load_settings, renew
from akiosd.daemon.host import Host
from akiosd.errors import AkiosError
from akiosd.values import records
from akiosd.values.ids import HOST_LOG

_log = get_log("settings")


class Renewer:
    """``path`` and ``overrides`` are those of akiosd's command line."""

    def __init__(self, host: Host, gate: Gate, path: Path | None, overrides: Overrides) -> None:
        self._host, self._gate = host, gate
        self._path, self._overrides = path, overrides

    def tell_start(self) -> None:
        """Write into the host's ledger what akiosd starts with."""
        self._tell(first(self._host.settings))

    async def renew(self, tasks: Tasks) -> str:
        """Read the files again; what waits for them is told in ``tasks``.

        Returns where they are wrong, "" when they were taken.
        """
        refused = ""
        try:
            change = renew(self._host.settings, load_settings(self._path, self._overrides))
        except AkiosError as error:
            self._refuse(error)
            refused = error.where or error.what
        else:
            self._take(change, tasks)
        groups = self._host.config.groups
        self._gate.reload(groups.user, groups.admin, groups.monitor)
        return refused

    def _take(self, change: Change, tasks: Tasks) -> None:
        self._host.settings = change.settings
        for told in list(self._host.renewed):
            tasks.start("tell of new settings", told)
        _log.info("settings were read again", changed=list(change.changed))
        if change.restart:
            _log.warning(
                "these keys are looked at only at the start: restart akiosd to change them",
                keys=list(change.restart),
            )
        self._tell(change)

    def _refuse(self, error: AkiosError) -> None:
        _log.error(
            "the settings could not be read again; the old ones hold",
            what=error.what,
            where=error.where,
            next=error.next,
        )
        self._append(self._host.settings, error=str(error))

    def _tell(self, change: Change) -> None:
        self._append(change.settings, changed=change.changed, restart=change.restart)

    def _append(
        self,
        settings: Settings,
        changed: tuple[str, ...] = (),
        restart: tuple[str, ...] = (),
        error: str = "",
    ) -> None:
        self._host.ledger.append(
            HOST_LOG,
            records.SettingsRead(
                ts=time.time_ns(),
                files=() if error else settings.read,
                changed=changed,
                restart=restart,
                error=error,
            ),
        )
