"""What takes room in the state directory, and which setting bounds it: for ``akiosctl doctor``."""

from __future__ import annotations

import os
from pathlib import Path

from akiosd.daemon.base.config import Config, LedgerConfig
from akiosd.daemon.cages.pending_changes import OUTPUT
from akiosd.kernel.disk import IMAGE, Disks, QuotaPool
from akiosd.store.tree_size import size_of_tree, sizes_below
from akiosd.values.units import format_size
from akiosd.wire.messages import DiskUse


def describe_crowd(ledger: LedgerConfig, log_bytes: int) -> str:
    """Why no more cages may begin, "" when they may: logs that are spared take all the room that
    logs have.
    """
    if not ledger.keep_bytes or log_bytes <= ledger.keep_bytes:
        return ""
    spared = (
        f"of the last {ledger.spare_days} days"
        if ledger.spare_days
        else "that may not be destroyed yet"
    )
    return (
        f"logs {spared} take {format_size(log_bytes)}, and ledger.keep_bytes is"
        f" {format_size(ledger.keep_bytes)}"
    )


def read_disk_use(config: Config, disks: Disks | None) -> tuple[DiskUse, ...]:
    """One row for each kind of data.  Blocks: every directory is read."""
    state = Path(config.state_dir)
    logs, output, images = _measure_cages(state / "cages")
    ledger, ended, quotas = config.ledger, config.ended, config.quotas
    pool = isinstance(disks, QuotaPool)
    return (
        DiskUse("logs of cages", logs, ledger.keep_bytes, "ledger.keep_bytes", _tell_logs(ledger)),
        DiskUse(
            "output of cages",
            output,
            0,
            "ended.output_bytes_per_user",
            f"{format_size(ended.output_bytes_per_user)} for each user",
        ),
        DiskUse(
            "disks of cages",
            images + _measure(state / "disk"),
            config.pools.disk_image_bytes if pool else 0,
            "pools.disk_image_bytes" if pool else "quotas.kept_per_user",
            f"changes of {quotas.kept_per_user} cages for each user, {_days(ended.changes_days)}",
        ),
        DiskUse(
            "log of the host",
            _measure(state / "ledger" / "host") + _measure(state / "ledger" / "host.history"),
            0,
            "ledger.host_keep_days",
            _days(ledger.host_keep_days),
        ),
        DiskUse(
            "write-ahead log",
            _measure(state / "ledger" / "wal") + _measure(state / "ledger" / "reserve"),
            0,
            "",
            "used again once it is published",
        ),
        *_private_log(Path(config.runtime_dir, "akiosd.log")),
    )


def read_free(state_dir: Path) -> tuple[int, int]:
    """Bytes and inodes that are free there; -1 inodes where the file system does not count them."""
    numbers = os.statvfs(state_dir)
    return numbers.f_bavail * numbers.f_frsize, numbers.f_favail if numbers.f_files else -1


def _tell_logs(ledger: LedgerConfig) -> str:
    parts = [_days(ledger.keep_days)]
    if ledger.keep_bytes:
        parts.append(f"none goes for its size within {ledger.spare_days} days")
    return "; ".join(parts)


def _days(days: int) -> str:
    return f"kept for {days} days" if days else "kept for ever"


def _private_log(path: Path) -> tuple[DiskUse, ...]:
    """The messages of a daemon that was started with --detach; a service's are the journal's."""
    size = _measure(path)
    detail = "empty it with truncate -s 0; akiosd goes on writing at its end"
    return (DiskUse("own messages", size, 0, "", detail),) if size else ()


def _measure_cages(cages: Path) -> tuple[int, int, int]:
    """(logs and what is known of cages, output, images) in bytes."""
    logs = output = images = 0
    for name, size in sizes_below(str(cages)):
        if name == OUTPUT:
            output += size
        elif name == IMAGE:
            images += size
        else:
            logs += size
    return logs, output, images


def _measure(path: Path) -> int:
    return size_of_tree(str(path))
