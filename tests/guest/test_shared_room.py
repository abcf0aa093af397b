"""Where all cages share one image with project quotas, as they do only here, none of them takes the
room that others need below akiosd's state directory either.
"""

from __future__ import annotations

import json

import pytest

from tests.e2e.daemon import Daemon
from tests.e2e.test_full_disk_changes import (
    small,
    test_a_cage_waits_for_room_and_loses_nothing,
    test_control_with_room_one_call_writes_all,
    test_one_call_takes_no_more_than_there_is,
    test_room_that_a_disk_does_not_tell_of_is_nobodys,
    test_who_takes_no_more_room_goes_on_beside_one_who_takes_all,
)

pytestmark = pytest.mark.named_set("mishaps")
__all__ = [
    "small",
    "test_a_cage_waits_for_room_and_loses_nothing",
    "test_control_with_room_one_call_writes_all",
    "test_one_call_takes_no_more_than_there_is",
    "test_room_that_a_disk_does_not_tell_of_is_nobodys",
    "test_who_takes_no_more_room_goes_on_beside_one_who_takes_all",
]


def test_the_cages_do_share_one_image(small: Daemon) -> None:
    posture = json.loads(small.ctl("doctor", "--json").stdout)["posture"]
    layers = {layer["layer"]: layer["detail"] for layer in posture}
    assert layers["disk"] == "project quota"
    assert [path.name for path in small.state.glob("**/*.img")] == ["pool.img"]
