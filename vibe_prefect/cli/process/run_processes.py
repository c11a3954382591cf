"""Processes of deployed runs on this machine, below the worker or the served deployment that has started them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from uuid import UUID

import psutil

ENGINE = "prefect.engine"
"""The module that the process of a run executes."""

ANSWER_SECONDS = 5.0
"""Seconds for the Prefect server to say which runs are suspended."""

LEAVE_SECONDS = 15.0
"""Seconds for the process of a suspended run to end by itself."""


def run_processes(parent: int) -> list[psutil.Process]:
    """Return the processes of runs below a process.

    Args:
        parent: Id of the process of a worker or a served deployment.
    """
    try:
        below = psutil.Process(parent).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return [process for process in below if _is_run(process)]


def _is_run(process: psutil.Process) -> bool:
    try:
        return ENGINE in process.cmdline()
    except psutil.Error:
        return False


async def let_suspended_end(parent: int) -> None:
    """Wait, bounded, until the processes of suspended runs have ended, which have nothing left to do.

    Prefect marks a run whose process it has to stop as cancelled, also a suspended one: nobody could answer it.
    Where the server does not say in time which runs are suspended, none is waited for.

    Args:
        parent: Id of the process that has started them.
    """
    with suppress(Exception):
        async with asyncio.timeout(ANSWER_SECONDS):
            suspended = await _suspended(run_processes(parent))
        await asyncio.to_thread(psutil.wait_procs, suspended, LEAVE_SECONDS)


async def _suspended(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Return the processes whose runs wait for a person's answer."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    from vibe_prefect.engine.past_run import PastRun

    run_of = {process: id for process in processes if (id := _flow_run(process))}
    if not run_of:
        return []
    which = FlowRunFilter(id=FlowRunFilterId(any_=list(run_of.values())))
    async with get_client() as client:
        runs = [PastRun.of(run) for run in await client.read_flow_runs(flow_run_filter=which)]
    suspended = {run.id for run in runs if run.suspended}
    return [process for process, id in run_of.items() if id in suspended]


def _flow_run(process: psutil.Process) -> UUID | None:
    from vibe_prefect.engine.inputs.operator_roots import FLOW_RUN_VARIABLE

    try:
        return UUID(process.environ().get(FLOW_RUN_VARIABLE, ""))
    except (psutil.Error, ValueError):
        return None
