"""What a client of MCP is told of arguments that are wrong."""

from __future__ import annotations

import re
from contextlib import nullcontext
from typing import Any

import pytest

pytest.importorskip("mcp")

from mcp.server.mcpserver.exceptions import ToolError

from akiosctl.mcp_server import Session, make_server


@pytest.mark.parametrize(("tool", "arguments", "words"), [
    ("run", {}, "command: is missing"),
    ("run", {"command": []}, "command: list should have at least 1 item"),
    ("run", {"command": ["a"], "timeout": 0}, "timeout: input should be greater than 0"),
    ("run", {"command": ["a"], "timeout": "soon"}, "timeout: input should be a valid number"),
    ("read", {"path": 1}, "path: input should be a valid string"),
    ("write", {}, "path: is missing; text: is missing"),
])  # fmt: skip
async def test_wrong_arguments_are_told_in_plain_words(
    tool: str, arguments: dict[str, Any], words: str
) -> None:
    server = make_server(lambda _ctx, _tool: nullcontext(Session(None, {})))
    with pytest.raises(ToolError) as told:
        await server.call_tool(tool, arguments)
    assert words in str(told.value) and f"wrong arguments of {tool}" in str(told.value)
    assert not re.search("https?://|pydantic|type=|Arguments", str(told.value)), told.value
    with pytest.raises(ToolError, match="is over") as other:  # the control: other errors stay
        session = Session(None, {})
        session.end()
        await make_server(lambda _ctx, _tool: nullcontext(session)).call_tool("diff", {})
    assert "wrong arguments" not in str(other.value)
