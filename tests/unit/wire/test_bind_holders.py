"""A bind of a file names the directory that holds it: what akiosd refuses before it looks at a
descriptor.
"""

from __future__ import annotations

import pytest
from akiosd.errors import DeniedError
from akiosd.wire.check import check_request
from akiosd.wire.messages import Bind, Run

TREE = Bind(b"/srv/tree", 1)
FILE = Bind(b"/srv/file", 2, holder=3, name=b"file")


def a_run(*binds: Bind) -> Run:
    return Run(id=1, argv=(b"x",), command=b"/x", workspace=b"/srv/ws", binds=binds)


@pytest.mark.parametrize(
    ("binds", "count", "good"),
    [
        ((TREE, FILE), 4, True),
        ((FILE, TREE), 4, True),
        ((TREE, FILE), 3, False),
        ((TREE, FILE), 5, False),
        ((TREE, Bind(b"/srv/file", 2, holder=1, name=b"file")), 3, False),
        ((TREE, Bind(b"/srv/file", 2, holder=3)), 4, False),
        ((TREE, Bind(b"/srv/file", 2, name=b"file")), 3, False),
        ((TREE, Bind(b"/srv/file", 2, holder=-1, name=b"file")), 3, False),
        ((TREE, Bind(b"/srv/file", 2, holder=3, name=b"..")), 4, False),
        ((TREE, Bind(b"/srv/file", 2, holder=3, name=b"a/b")), 4, False),
        ((TREE, Bind(b"/srv/file", 2, holder=3, name=b"a\0b")), 4, False),
    ],
)
def test_each_descriptor_has_one_use_and_each_holder_a_name(
    binds: tuple[Bind, ...], count: int, good: bool
) -> None:
    if good:
        check_request(a_run(*binds), count)
    else:
        with pytest.raises(DeniedError):
            check_request(a_run(*binds), count)
