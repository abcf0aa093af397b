"""Names that an ecosystem's tools ask for, under one word: ``network: {presets: [python]}``.

A preset stands for its names in ``allowed_domains`` and nothing else: they are merged, bounded and
refused as if they had been written out.  The lists are what the tools of an ordinary installation
ask for, looked through on the date beside them; mirrors and private registries are not among them.
"""

from __future__ import annotations

from typing import NamedTuple


class Preset(NamedTuple):
    """``looked_at`` is the day on which the names were last compared with what the tools ask
    for.
    """

    looked_at: str
    what: str
    names: tuple[str, ...]


PRESETS: dict[str, Preset] = {
    "python": Preset(
        "2026-11-28", "pip, uv and poetry from the Python Package Index",
        ("pypi.org", "files.pythonhosted.org"),
    ),
    "node": Preset(
        "2026-11-28", "npm, pnpm and yarn from their registries; headers for native modules",
        ("registry.npmjs.org", "registry.yarnpkg.com", "nodejs.org"),
    ),
    "rust": Preset(
        "2026-11-28", "cargo from crates.io, rustup",
        ("crates.io", "index.crates.io", "static.crates.io", "static.rust-lang.org"),
    ),
    "go": Preset(
        "2026-11-28", "modules, checksums and toolchains through Go's own proxy",
        ("proxy.golang.org", "sum.golang.org", "go.dev", "dl.google.com"),
    ),
    "debian": Preset(
        "2026-11-28", "apt of Debian and of Ubuntu",
        (
            "deb.debian.org", "security.debian.org", "archive.ubuntu.com", "security.ubuntu.com",
            "*.archive.ubuntu.com",
        ),
    ),
    "github": Preset(
        "2026-11-28", "git over HTTPS, releases, raw files, the API; a token can publish there",
        (
            "github.com", "api.github.com", "codeload.github.com", "raw.githubusercontent.com",
            "objects.githubusercontent.com", "release-assets.githubusercontent.com",
            "media.githubusercontent.com", "github-cloud.githubusercontent.com",
        ),
    ),
}  # fmt: skip


def names_of(presets: tuple[str, ...]) -> tuple[str, ...]:
    """All names of these presets, in their order."""
    return tuple(dict.fromkeys(name for preset in presets for name in PRESETS[preset].names))
