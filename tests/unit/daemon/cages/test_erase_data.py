"""What a destruction says it did is bounded, and read again by the start that goes on with it."""

from __future__ import annotations

import os
from pathlib import Path

from akiosd.daemon.cages.erase_data import finish_destructions, method_of
from akiosd.store.wipe import How, look
from akiosd.values.ids import HOST_LOG, LogId
from akiosd.values.records import CageDestroyed, End
from tests.unit.daemon.ledger.test_append import CAGE, LOG, host_records, open_here, running


def hide_names(state: Path, log: LogId) -> None:
    """Files of the cage that have another name elsewhere, as whoever is root can make them: long,
    deep, no text.
    """
    folder = state / "cages" / log
    for number in range(30):
        name = (os.fsdecode(b"\xff" * 200) if number % 2 else "\u5bb6" * 80) + str(number)
        (folder / name).write_bytes(b"x")
        os.link(folder / name, state / f"elsewhere-{number}")


async def test_a_start_goes_on_with_a_destruction_that_spares_files_of_any_name(
    tmp_path: Path,
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    async with running(open_here(state)) as ledger:
        log = ledger.open_log(CAGE)
        await ledger.commit(log, End(ts=1, exit_code=0))
        ledger.close_log(log)
        await ledger.publish(log)
        hide_names(state, log)
        method = method_of(How(), look(state / "cages" / log))
        await ledger.destroy_log(log, method)  # and is stopped here
    assert len(method) < 4096
    async with running(open_here(state)) as ledger:
        await finish_destructions(ledger, state / "cages")
        (stone,) = [
            record for record in await host_records(ledger) if isinstance(record, CageDestroyed)
        ]
        assert stone.method == method and method.endswith("and 10 more")
        await ledger.publish(HOST_LOG)
    assert not (state / "cages" / LOG).exists()
    assert (state / "elsewhere-0").read_bytes() == b"x"
