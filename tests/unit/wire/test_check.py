"""Words of what a request is refused for: who can mend it, the user or whoever installs akiosctl."""

from __future__ import annotations

import pytest

from akiosd.errors import DeniedError
from akiosd.wire.check import MAX_PATH, check_path


@pytest.mark.parametrize("path", [b"/home//me", b"/root/../home/me", b"/" + b"x" * MAX_PATH])
def test_a_path_that_comes_from_the_environment_is_the_users_to_mend(path: bytes) -> None:
    with pytest.raises(DeniedError) as caught:
        check_path("home", path)
    assert "set HOME" in caught.value.next
    with pytest.raises(DeniedError) as caught:
        check_path("cwd", path)
    assert "HOME" not in caught.value.next
    check_path("home", b"/home/me")
