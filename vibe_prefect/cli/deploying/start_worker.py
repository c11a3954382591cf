"""`vibe-prefect worker start`: a Prefect worker that takes runs up quickly, and lets them end well when it is stopped.

Prefect's own worker kills the processes of its runs when it is stopped, so that these stay Running for ever. This
process is its parent: it ends the runs first, each of which reports that to Prefect and keeps its records, and then the
worker.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import psutil

from vibe_prefect.cli.display.lines import counted
from vibe_prefect.cli.exits import ExitCode, tell, warn
from vibe_prefect.cli.process.environment import ask
from vibe_prefect.cli.process.interrupt import SIGNALS
from vibe_prefect.cli.process.run_processes import let_suspended_end, run_processes
from vibe_prefect.cli.process.standing import standing_server
from vibe_prefect.cli.reading.toolbox import command_registry
from vibe_prefect.engine.server.settings import CLIENT_SETTINGS

RUN_GRACE = 40.0
"""Seconds for the runs to end before they are killed."""

WORKER_GRACE = 15.0
"""Seconds for the worker to end before it is killed."""


def start(pool: str, limit: int | None) -> int:
    """Run a worker until a signal or the worker itself ends it."""
    from vibe_prefect.engine.deploy.deployment_checks import check_pool_name

    check_pool_name("--pool", pool)
    command_registry()  # its runs will need the same: better to hear now of a file that does not load
    server = standing_server()
    if not ask(server, _there_is(pool)):
        warn(f"there is no work pool {pool!r} yet: one for processes is made, and nothing is deployed to it so far")
    tell(f"worker for the pool {pool!r} of {server.api_url}; Ctrl-C stops it and its runs, which can be resumed")
    worker = subprocess.Popen(  # noqa: S603
        _command(pool, limit),
        env={**CLIENT_SETTINGS, **os.environ, "PWD": str(Path.cwd())},  # pull steps name the folder by it
        start_new_session=True,  # Ctrl-C on the terminal comes to us alone
    )
    stopper = _Stopper(worker)
    for number in SIGNALS:
        signal.signal(number, stopper)
    code = worker.wait()
    return ExitCode.COMPLETED if stopper.called else code


async def _there_is(pool: str) -> bool:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import WorkPoolFilter, WorkPoolFilterName

    by_name = WorkPoolFilter(name=WorkPoolFilterName(any_=[pool]))
    async with get_client() as client:
        return bool(await client.read_work_pools(work_pool_filter=by_name))


def _command(pool: str, limit: int | None) -> list[str]:
    limited = ["--limit", str(limit)] if limit is not None else []
    return [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, *limited]


class _Stopper:
    """Handler of signals: the first ends the runs and the worker, the second kills them."""

    def __init__(self, worker: subprocess.Popen[bytes]) -> None:
        self.called = False
        self._worker = worker

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        again, self.called = self.called, True
        if again:
            _kill([*run_processes(self._worker.pid), psutil.Process(self._worker.pid)])
            return
        asyncio.run(let_suspended_end(self._worker.pid))
        if runs := run_processes(self._worker.pid):
            tell(f"stopping {counted(len(runs), 'run')} ...")
            _end(runs, RUN_GRACE)
        _end([psutil.Process(self._worker.pid)], WORKER_GRACE)


def _end(processes: Sequence[psutil.Process], grace: float) -> None:
    for process in processes:
        try:
            process.terminate()
        except psutil.NoSuchProcess:
            continue
    _kill(psutil.wait_procs(processes, grace)[1])


def _kill(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
