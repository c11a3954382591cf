"""Clusters as carriers of packed work, without a run around them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from anyio import CancelScope

from tests.engine.placements.cluster_tools import cluster_tools
from tests.engine.placements.clusters import needs
from tests.plans import node, plan
from vibe_prefect import Workspace, compile_plan
from vibe_prefect.core.models import NodeResources
from vibe_prefect.engine.placements.carriers import open_carrier
from vibe_prefect.engine.placements.placement import Carrier
from vibe_prefect.errors import PlacementError, WorkerLostError
from vibe_prefect.run.run_state import NodeRun, RunState
from vibe_prefect.run.sending import BEGUN, PROGRESS, Message, SentWork, packed, unpacked
from vibe_prefect.settings.placements import PlacementKind, PlacementSettings

pytestmark = [pytest.mark.slow, pytest.mark.storm, pytest.mark.usefixtures("lost_connections")]

BOUND = 120.0


def work(tool: str, root: Path, /, **inputs: Any) -> bytes:
    """Return the packed work of a node that calls a tool."""
    tools = cluster_tools()
    compiled = compile_plan(plan(node("a", parameters={"tool": tool, "tool_inputs": inputs})), tools=tools)
    state = RunState(compiled, NodeRun)
    sent = state.work(state.runs["a"], cluster_tools, Workspace(root, root / "out"), {})
    return packed(SentWork(sent), "cluster")


@asynccontextmanager
async def opened(kind: PlacementKind) -> AsyncGenerator[Carrier]:
    carrier = await open_carrier("cluster", PlacementSettings(kind=kind, workers=1))
    try:
        yield carrier
    finally:
        await carrier.close()


async def begun(folder: Path) -> psutil.Process:
    """Wait until a call of the tool `note` has begun, and return its process."""
    end = time.monotonic() + BOUND
    while time.monotonic() < end:
        for path in folder.glob("call-*"):
            if path.read_text():
                return psutil.Process(int(path.name.split("-")[1]))
        await asyncio.sleep(0.05)
    raise TimeoutError("no call has begun")


async def ended(process: psutil.Process) -> None:
    end = time.monotonic() + BOUND
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end, "the process goes on"
        await asyncio.sleep(0.05)


async def stop_once_begun(carrier: Carrier, payload: bytes, folder: Path) -> psutil.Process:
    """Have a work stopped as a timeout does it: each await of what is stopped is cancelled, not the first alone."""
    scope = CancelScope()

    async def stop() -> psutil.Process:
        process = await begun(folder)
        scope.cancel()
        return process

    stopping = asyncio.ensure_future(stop())
    with scope:
        await carrier.carry(payload, NodeResources(), print)
    assert scope.cancelled_caught
    return await stopping


@pytest.mark.parametrize("kind", [PlacementKind.DASK, PlacementKind.RAY])
async def test_cluster_carries_work_and_stops_it_and_never_repeats_it(
    kind: PlacementKind, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs(kind)
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")  # the run starts its own cluster, whatever others there are
    messages: list[Message] = []
    async with opened(kind) as carrier:
        done = unpacked(await carrier.carry(work("shout", folder, text="hi"), NodeResources(cpu=1), messages.append))
        assert done.outcome.result["result"] == {"text": "HI"}
        assert await carrier.count_workers() == 1
        with pytest.raises(PlacementError, match=r"policy\.resources asks for"):
            await carrier.carry(work("shout", folder, text="hi"), NodeResources(gpu=3), messages.append)

        stopped, lost = folder / "stopped", folder / "lost"
        stopped.mkdir()
        lost.mkdir()
        long = work("note", folder, folder=str(stopped), name="call", seconds=3600)
        process = await stop_once_begun(carrier, long, stopped)
        await ended(process)

        call = asyncio.ensure_future(
            carrier.carry(work("note", folder, folder=str(lost), name="call", seconds=3600), NodeResources(), print)
        )
        process = await begun(lost)
        victim = process.parent() if kind is PlacementKind.DASK else process
        assert victim is not None
        victim.kill()
        with pytest.raises(WorkerLostError, match="in the middle of the work"):
            await call
        await ended(process)
        assert [path.read_text() for path in lost.iterdir()] == ["begun"]
    assert messages[:2] == [(BEGUN, None, ""), (PROGRESS, 0.5, "half")]
