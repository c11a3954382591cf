"""Tools that never return or leave the process: the command still ends, with the exit code of its result."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.command import call, install_tools, node, write_plan

TOOLS = """
import asyncio, sys, threading
from anyio.to_thread import run_sync
from vibe_prefect import tool

def hang():
    threading.Event().wait()

@tool(version="1")
def hangs() -> None:
    hang()

@tool(version="1")
async def hangs_in_asyncio() -> None:
    await asyncio.to_thread(hang)

@tool(version="1")
async def hangs_in_anyio() -> None:
    await run_sync(hang, abandon_on_cancel=True)

@tool(version="1")
def leaves() -> None:
    sys.exit(3)

@tool(version="1")
async def leaves_at_once() -> None:
    sys.exit(3)
"""
NAMES = ["hangs", "hangs_in_asyncio", "hangs_in_anyio", "leaves", "leaves_at_once"]


@pytest.fixture
def tools(tmp_path: Path) -> dict[str, str]:
    """An environment with an installed package of tools."""
    return install_tools(tmp_path / "site", "unruly", TOOLS, NAMES)


@pytest.mark.server
@pytest.mark.slow
def test_run_ends_although_tools_hang_or_leave(tools: dict[str, str], prefect_server: str, tmp_path: Path) -> None:
    nodes = [
        node(name, parameters={"tool": name, "tool_inputs": {}}, policy={"timeout": 1 if "hangs" in name else None})
        for name in NAMES
    ]
    write = {"tool": "write_file", "tool_inputs": {"path": "a.txt", "content": "x"}}
    plan = write_plan(tmp_path, [*nodes, node("fine", parameters=write)])
    ended = call("run", plan, "--json", cwd=tmp_path, extra={"PREFECT_API_URL": prefect_server, **tools})
    assert ended.code == 1, ended.err
    found = {id: (one["status"], one["error"]) for id, one in ended.json["nodes"].items()}
    hung = ("failed", "timeout: the node took longer than its 1 s")
    left = ("failed", "SystemExit: 3")
    assert found == dict.fromkeys(NAMES[:3], hung) | dict.fromkeys(NAMES[3:], left) | {"fine": ("completed", None)}
