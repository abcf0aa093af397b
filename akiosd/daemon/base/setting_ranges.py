"""Which numbers ``akiosd.yaml`` takes, by setting; the ids of ``uids`` are bound by each other."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from akiosd.daemon.base.gateway_config import Where
from akiosd.errors import AkiosError
from akiosd.values.units import format_size


class Range(msgspec.Struct, frozen=True):
    """From ``least`` to ``most``, both of them allowed."""

    least: int
    most: int
    unit: str

    def __str__(self) -> str:
        if self.unit == "bytes":
            return f"{format_size(self.least)} to {format_size(self.most)}"
        return f"{self.least} to {self.most} {self.unit}"


_DAYS = Range(0, 36_500, "days")
_CAGES = Range(0, 100_000, "cages")
RANGES = {
    "quotas.cages_per_user": _CAGES,
    "quotas.cages_total": _CAGES,
    "quotas.kept_per_user": _CAGES,
    "quotas.keep_free_bytes": Range(0, 1 << 49, "bytes"),
    "pools.userns": Range(0, 1000, "cages"),
    "pools.disk_image_bytes": Range(64 << 20, 1 << 49, "bytes"),
    "ledger.keep_days": _DAYS,
    "ledger.keep_bytes": Range(0, 1 << 49, "bytes"),
    "ledger.spare_days": _DAYS,
    "ledger.pack_after_s": Range(0, 3_153_600_000, "seconds"),
    "ledger.host_keep_days": _DAYS,
    "ledger.wipe_passes": Range(0, 35, "passes"),
    "ledger.check_every_s": Range(1, 86_400, "seconds"),
    "ended.per_user": _CAGES,
    "ended.keep_days": _DAYS,
    "ended.changes_days": _DAYS,
    "ended.output_bytes": Range(0, 1 << 30, "bytes"),
    "ended.output_bytes_per_user": Range(0, 1 << 49, "bytes"),
    "restart.come_back_s": Range(0, 86_400, "seconds"),
}


def find_out_of_range(config: msgspec.Struct, where: Where) -> Iterator[AkiosError]:
    """One error for each number out of its range; ``where`` gives file and line of a key."""
    for setting, allowed in RANGES.items():
        section, _, key = setting.partition(".")
        number = getattr(getattr(config, section), key)
        if not allowed.least <= number <= allowed.most:
            what = f"{setting} is {number}, and may be {allowed}"
            yield AkiosError(what, where(section, key), "see akiosd.yaml(5)")
