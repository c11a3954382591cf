"""Tools and a handler that another process can import, for nodes that run there."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil

from vibe_prefect import NodeContext, Spending, ToolContext, ToolError, WorkflowNode, paid_call, tool


@tool(version="1")
def shout(text: str) -> dict[str, str]:
    """Write a text in capitals."""
    return {"text": text.upper()}


@tool(version="1")
def where() -> dict[str, int]:
    """Say which process does the work."""
    return {"process": os.getpid()}


@tool(version="1")
def end_process(process: int) -> None:
    """End a process, and wait until it is gone or only its parent knows of it."""
    ended = psutil.Process(process)
    ended.kill()
    while ended.is_running() and ended.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)


@tool(version="1")
def note_file(name: str, context: ToolContext) -> dict[str, Any]:
    """Write a file."""
    workspace = context.get("workspace")
    assert workspace is not None
    return {"file": workspace.write(f"{name}.txt", name.encode(), "text/plain")}


@tool(version="1")
def refuse(text: str) -> None:
    """Fail."""
    raise ToolError(f"refused: {text}", retryable=False)


class OddError(Exception):
    """An error that can be pickled and not read again."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} {two}")


@tool(version="1")
def fail_oddly() -> None:
    """Fail with an error that cannot be sent as it is."""
    raise OddError("very", "odd")


@tool(version="1")
def die_once(folder: str) -> dict[str, str]:
    """End the process on the first call."""
    mark = Path(folder) / "died"
    if not mark.exists():
        mark.write_text("yes")
        os.kill(os.getpid(), signal.SIGKILL)
    return {"text": "alive"}


@tool(version="1")
async def pay(usd: float, context: ToolContext) -> dict[str, float]:
    """Pay for something, without having stated what it costs at most."""
    async with paid_call(context.get("budget"), Spending(usd=usd)) as charge:
        charge.used = Spending(usd=usd)
    return {"paid": usd}


def half_a_dollar(_: dict[str, Any]) -> Spending:
    """Say what a call costs at most."""
    return Spending(usd=0.5)


@tool(version="1", most_cost=half_a_dollar)
def pay_and_die(folder: str) -> dict[str, str]:
    """End the process on the first call, after it may have paid."""
    return die_once(folder)


@tool(version="1")
def hold(folder: str, context: ToolContext) -> None:
    """Note the process, say so, and stay until the process is ended."""
    mark = Path(folder) / "held"
    mark.write_text(str(os.getpid()))
    report = context.get("report_progress")
    assert report is not None
    report(0.5, "held")
    while True:
        time.sleep(0.05)


async def echo(node: WorkflowNode, context: NodeContext) -> dict[str, Any]:
    """Return what the node was given, by way of a tool."""
    told = await context.call_tool("shout", {"text": node.description})
    return {"text": told["text"], "given": sorted(context.previous_outputs)}
