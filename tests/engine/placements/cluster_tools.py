"""Tools that other processes import by the name of this module."""

from __future__ import annotations

import os
import time
from pathlib import Path

from vibe_prefect import ToolContext, ToolRegistry, tool


@tool
def shout(text: str, context: ToolContext) -> dict[str, str]:
    """Shout a text."""
    report = context.get("report_progress")
    assert report is not None
    report(0.5, "half")
    return {"text": text.upper()}


@tool
def write(text: str, context: ToolContext) -> dict[str, object]:
    """Write a text into a file."""
    workspace = context.get("workspace")
    assert workspace is not None
    return {"text": text, "file": workspace.write("made.txt", text.encode())}


@tool
def fail_once(marker: str) -> dict[str, str]:
    """Fail where there is no file of that name."""
    if not Path(marker).exists():
        raise ValueError("not yet")
    return {"text": "at last"}


@tool
def note(folder: str, name: str, seconds: float = 0.0) -> dict[str, str]:
    """Note the begin and the end of a call in a file of the call's own."""
    path = Path(folder) / f"{name}-{os.getpid()}-{time.time_ns()}"
    path.write_text("begun")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    path.write_text("ended")
    return {"text": name}


def cluster_tools() -> ToolRegistry:
    """Return the tools."""
    return ToolRegistry([shout, write, fail_once, note])
