"""The exception family of AKIOS: every error says what failed, where, and what a person can do
next.
"""

from __future__ import annotations

AGAIN = "run the command again; if it fails again: sudo akiosctl ledger verify --all"
"""What helps where a file changed under its reader."""


class AkiosError(Exception):
    """A failure a person can act on.

    ``what`` is one sentence naming the failure, ``where`` the step, path or layer it happened in,
    ``next`` the action that helps.  Expected outcomes (a denial, a budget stop, an OOM kill) are
    values, never exceptions.  ``NEXT`` is what helps against failures of a kind, where the place
    that failed knows nothing better.
    """

    NEXT = ""

    def __init__(self, what: str, where: str = "", next: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.next = next or self.NEXT

    def __str__(self) -> str:
        text = self.what
        if self.where:
            text += f" (at {self.where})"
        if self.next:
            text += f"; next: {self.next}"
        return text


class PolicyError(AkiosError):
    """The policy text or a merge of policies is not acceptable."""


class ProtocolError(AkiosError):
    """The peer broke the wire protocol; the connection is closed."""

    NEXT = (
        "install the same version of akiosd and akiosctl (both have --version), and restart akiosd"
    )


class GatewayFaultError(ProtocolError):
    """A gateway and akiosd, which are of one installation, do not agree: no user did that."""

    NEXT = (
        "this is a fault of AKIOS: restart akiosd, and report it with the output of journalctl"
        " -u akiosd"
    )


class DeniedError(AkiosError):
    """The request was understood and is not permitted to this peer."""


class KernelError(AkiosError):
    """A kernel mechanism failed; carries the errno when there was one."""

    NEXT = "see akiosctl doctor, and the log of akiosd: journalctl -u akiosd"

    def __init__(self, what: str, where: str = "", next: str = "", errno: int = 0) -> None:
        super().__init__(what, where, next)
        self.errno = errno


class LayerUnavailableError(AkiosError):
    """The policy asks for a layer that this host cannot enforce."""


class LedgerError(AkiosError):
    """The ledger cannot be written, or what is on disk is not what was written."""

    NEXT = (
        "see what is damaged: sudo akiosctl ledger verify --all, and what that means: man"
        " akios-ledger"
    )


class LedgerStateError(LedgerError):
    """The running ledger was asked for something out of turn: nothing on disk is wrong."""

    NEXT = "restart akiosd; if it comes again, report it with the output of journalctl -u akiosd"


class LedgerDiskError(LedgerError):
    """The disk failed, or has no room: nothing that was written is wrong."""

    NEXT = "check the disk and its room (dmesg, df), then restart akiosd"


class CageFailedError(AkiosError):
    """A cage could not be started; ``where`` names the step of the plan."""

    NEXT = "run the command again; if it fails again, see akiosctl doctor and journalctl -u akiosd"
