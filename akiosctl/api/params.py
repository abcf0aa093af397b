"""Parameters that several endpoints have."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Header, Path, Query

CageId = Annotated[str, Path(pattern="^c-[0-9a-z]{12}$", description="The id of a cage.")]
RunId = Annotated[
    str, Path(pattern="^w-[0-9a-f]{10}$", description="The id of a run of a workflow.")
]
KeepOutput = Annotated[bool, Query(description="Leave `data/output` as it is.")]
Discard = Annotated[bool, Query(description="Destroy changes that nobody committed, too.")]
Piece = Annotated[int, Query(ge=1, le=8 << 20, description="How many bytes at most.")]
Fast = Annotated[bool, Query(description="Only unlink, overwrite nothing.")]
Inside = Annotated[
    str,
    Query(
        min_length=1,
        max_length=4096,
        pattern="^[^\\x00]*$",
        examples=["notes.txt"],
        description="A path inside; a relative one is below the workspace.",
    ),
]
Offset = Annotated[int, Query(ge=0, le=1 << 50, description="The first byte.")]
Wait = Annotated[
    int, Query(ge=0, le=25, description="So many seconds at most the answer waits for the end.")
]


def _key(how_long: str) -> Any:
    return Header(
        alias="Idempotency-Key",
        max_length=128,
        pattern="^[!-~]*$",
        description=f"A request that comes again with it begins nothing new, {how_long}; another"
        " request with it is refused.",
    )


Key = Annotated[str, _key("while this server runs")]
KeptKey = Annotated[str, _key("also when this server was restarted between them")]
