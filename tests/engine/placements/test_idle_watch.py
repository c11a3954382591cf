"""A placement that takes no work says so, however long a run would wait for it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from typing_extensions import override

from tests.engine.placements.cluster_tools import cluster_tools
from tests.engine.placements.clusters import needs
from tests.plans import node, plan
from vibe_prefect import ExecutionStatus, WorkflowExecutor, WorkflowNode
from vibe_prefect.core.models import NodeResources
from vibe_prefect.core.progress import RunObserver
from vibe_prefect.engine.placements import idle_watch
from vibe_prefect.engine.placements.idle_watch import IdleWatch
from vibe_prefect.run.sending import Tell

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_server")]

BOUND = 120.0

Say = Callable[[float | None, str], None]


class Crew:
    """A placement of so many workers, which carries nothing."""

    def __init__(self, workers: int | None) -> None:
        self.workers = workers

    async def count_workers(self) -> int:
        if self.workers is None:
            raise ConnectionResetError("the scheduler is gone")
        return self.workers

    async def carry(self, payload: bytes, resources: NodeResources, tell: Tell) -> bytes:
        raise NotImplementedError

    async def close(self) -> None: ...


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle_watch, "IDLE_SECONDS", 0.05)


@asynccontextmanager
async def watched(watch: IdleWatch) -> AsyncGenerator[None]:
    watching = asyncio.create_task(watch.watch())
    try:
        yield
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(BOUND):
        while not holds():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


@pytest.mark.parametrize(
    ("workers", "words"),
    [
        (0, "it has no worker"),
        (1, "it has 1 worker"),
        (3, "it has 3 workers"),
        (None, "it does not answer (the scheduler is gone)"),
    ],
)
async def test_work_that_nothing_takes_is_told_once_in_the_log_and_on_its_nodes(
    workers: int | None, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    shown: list[tuple[str, str]] = []
    watch = IdleWatch("gpu", Crew(workers))

    def show(node_id: str) -> Say:
        return lambda _, message: shown.append((node_id, message))

    @flow
    async def waiting() -> None:
        async with watched(watch):
            with watch.sent("draw", show("draw")), watch.sent("film", show("film")), watch.sent("quiet", None):
                await until(lambda: len(shown) == 2)
                watch.begun("draw")
                watch.begun("draw")
                await until(lambda: len(shown) == 3)
            watch.begun("film")  # its message comes after its end

    await waiting()
    assert shown == [
        ("draw", "waits for a worker of the placement 'gpu'"),
        ("film", "waits for a worker of the placement 'gpu'"),
        ("draw", ""),
        ("film", ""),
    ]
    [told] = warnings_in(caplog)
    assert told.startswith(f"Nothing has begun the work for the placement 'gpu' for 0.05 s, and {words}. ")
    assert told.endswith("wait until a worker takes them, or the run is cancelled: 'draw', 'film', 'quiet'")


async def test_placement_with_work_under_way_lets_the_rest_wait_without_a_word(
    caplog: pytest.LogCaptureFixture,
) -> None:
    busy, later = IdleWatch("cores", Crew(1)), IdleWatch("gpu", Crew(0))

    @flow
    async def waiting() -> None:
        async with watched(busy), watched(later):
            with busy.sent("first", None), busy.sent("second", None):
                busy.begun("first")
                with later.sent("third", None):
                    await until(lambda: bool(warnings_in(caplog)))

    await waiting()
    assert ["'gpu'" in text for text in warnings_in(caplog)] == [True]


async def test_work_that_begins_while_the_workers_are_counted_is_not_said_to_wait(
    caplog: pytest.LogCaptureFixture,
) -> None:
    counting = asyncio.Event()

    class SlowCrew(Crew):
        @override
        async def count_workers(self) -> int:
            counting.set()
            watch.begun("draw")
            return 1

    watch = IdleWatch("gpu", SlowCrew(1))

    @flow
    async def waiting() -> None:
        async with watched(watch):
            with watch.sent("draw", None):
                async with asyncio.timeout(BOUND):
                    await counting.wait()

    await waiting()
    assert warnings_in(caplog) == []


@contextmanager
def without_workers() -> Any:
    from distributed import LocalCluster

    made: Any = LocalCluster
    with made(n_workers=0, dashboard_address="127.0.0.1:0", host="127.0.0.1", silence_logs=logging.CRITICAL) as cluster:
        yield cluster


@pytest.mark.slow
@pytest.mark.storm
@pytest.mark.usefixtures("lost_connections")
async def test_run_on_a_cluster_without_workers_says_so_and_goes_on_with_the_first_that_joins(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    needs("dask")
    messages: list[str] = []

    class Listener(RunObserver):
        @override
        def node_progressed(self, node: WorkflowNode, fraction: float | None, message: str) -> None:
            messages.append(message)

    with without_workers() as cluster:
        setting = {"farm": {"kind": "dask", "address": cluster.scheduler_address, "shares_files": True}}
        monkeypatch.setenv("PREFECT_INTEGRATIONS_VIBE_PREFECT_PLACEMENTS", json.dumps(setting))
        executor = WorkflowExecutor(tool_registry=cluster_tools(), run_on="farm", observers=[Listener()])
        inputs = {"tool": "shout", "tool_inputs": {"text": "hello"}}
        running = asyncio.create_task(executor.execute_plan(plan(node("a", parameters=inputs))))
        await until(lambda: any("has no worker" in text for text in warnings_in(caplog)) or running.done())
        assert not running.done()
        await asyncio.to_thread(cluster.scale, 1)
        async with asyncio.timeout(BOUND):
            result = await running
    assert result.status is ExecutionStatus.COMPLETED
    assert messages[:2] == ["waits for a worker of the placement 'farm'", ""]
