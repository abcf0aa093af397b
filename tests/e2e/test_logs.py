"""The output of a cage that runs alone."""

from __future__ import annotations

import json

from tests.e2e.daemon import NOBODY, OTHER, Daemon


def test_what_a_detached_cage_wrote_is_kept_for_its_owner(daemon: Daemon) -> None:
    done = daemon.run(
        "sh", "-c", "echo out; echo err >&2", flags=["--detach", "--json"], uid=NOBODY
    )
    assert done.returncode == 0, done.stderr
    cage = json.loads(done.stdout)["cage"]
    daemon.ctl("stop", cage, uid=NOBODY)  # returns when it has ended, by itself or not
    own = daemon.ctl("logs", cage, uid=NOBODY)
    assert sorted(own.stdout.split()) == ["err", "out"], own
    foreign = daemon.ctl("logs", cage, uid=OTHER)
    assert foreign.returncode == 125 and "there is no cage" in foreign.stderr
