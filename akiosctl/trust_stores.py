"""Find the trust stores that programs bring along: files with certificates in what a cage will
show.

Looked for where they are known to stand, not everywhere: a run waits for this.  A path is told only
under its real name, because nothing inside follows a link on the way to it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from akiosctl.version_managers import is_below
from akiosd.values.trust import MAX_STORES, STORES

_SYSTEM = ("/usr", "/usr/local")
_MAX_PACKAGES = 2000
# Below an installation's root: Java, conda, the AWS command line, the Google Cloud SDK.
_IN_TREE = (
    "lib/security/cacerts", "jre/lib/security/cacerts", "ssl/cacert.pem",
    "lib/third_party/certifi/cacert.pem", "aws-cli/v2/current/dist/awscli/botocore/cacert.pem",
    "dist/awscli/botocore/cacert.pem",
)  # fmt: skip
# Below any package of Python: certifi, botocore, requests, and certifi in those that bring their
# own.
_IN_PACKAGE = ("cacert.pem", "_vendor/certifi/cacert.pem")
_IN_PACKAGES = (
    "pip/_vendor/requests/cacert.pem", "pipenv/patched/pip/_vendor/certifi/cacert.pem",
    "pipenv/patched/certifi/cacert.pem", "awscli/botocore/cacert.pem",
    "grpc/_cython/_credentials/roots.pem", "httplib2/cacerts.txt",
    "stripe/data/ca-certificates.crt",
)  # fmt: skip
_NO_PACKAGES = (".dist-info", ".egg-info", ".so", ".py", ".pth")


def find_trust_stores(
    trees: Iterable[str], workspace: str, environments: Iterable[str] = ()
) -> list[str]:
    """Absolute, real paths of stores in ``trees``, in the system, and in Python environments of the
    workspace.

    ``environments`` are directories that may be such environments, besides those with the usual
    names.
    """
    places = list(trees)
    own = [f"{workspace}/{name}" for name in (".venv", "venv", "env")] + list(environments)
    roots = dict.fromkeys([*(path for path in own if is_below(path, workspace)), *places, *_SYSTEM])
    found: dict[str, None] = {}
    for root in roots:
        for path in _stores_of(root):
            real = os.path.realpath(path)
            if os.path.basename(real) in STORES and _is_shown(real, workspace, places):
                found[real] = None
            if len(found) == MAX_STORES:
                return list(found)
    return list(found)


def _is_shown(path: str, workspace: str, places: list[str]) -> bool:
    return any(is_below(path, place) and path != place for place in ("/usr", workspace, *places))


def _stores_of(root: str) -> Iterator[str]:
    yield from _present(root, _IN_TREE)
    for lib in (f"{root}/lib", f"{root}/lib64"):
        for name in _list(lib)[:_MAX_PACKAGES] if not os.path.islink(lib) else ():
            if name.startswith("python"):
                for packages in ("site-packages", "dist-packages"):
                    yield from _stores_of_packages(f"{lib}/{name}/{packages}")


def _stores_of_packages(directory: str) -> Iterator[str]:
    names = _list(directory)
    if names:
        yield from _present(directory, _IN_PACKAGES)
    for name in names[:_MAX_PACKAGES]:
        if not name.endswith(_NO_PACKAGES):
            yield from _present(f"{directory}/{name}", _IN_PACKAGE)


def _present(directory: str, names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        path = f"{directory}/{name}"
        # access(2) first: it fails without an exception, and nearly always fails.
        if os.access(path, os.F_OK) and os.path.isfile(path):
            yield path


def _list(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []
