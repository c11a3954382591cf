"""What a run does besides its nodes' work, counted: each of these once took a good part of a node's time."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from prefect import flow_engine, futures

from tests.executors import Worker, executor, run_id
from tests.plans import node, plan
from vibe_prefect import WorkflowPlan
from vibe_prefect.engine.records.storage import NodeRecord, RecordStore
from vibe_prefect.text.json_text import SharedTexts

pytestmark = pytest.mark.server

NODES = 12


@pytest.fixture(autouse=True)
def on_server(prefect_server: str, folder: Path) -> None:
    """Every test here has the server, and an empty folder to work in."""


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the records that are looked for, and the values in which Prefect looks for futures and states."""
    counts: Counter[str] = Counter()
    read = RecordStore.read_record
    for module, name in ((futures, "_collect_futures"), (flow_engine, "resolve_to_final_result")):
        search: Any = getattr(module, name)

        def searched(*args: Any, search: Any = search, name: str = name, **kwargs: Any) -> Any:
            counts[name] += 1
            return search(*args, **kwargs)

        monkeypatch.setattr(module, name, searched)

    async def read_counted(self: RecordStore, key: str, texts: SharedTexts | None = None) -> NodeRecord | None:
        counts["read_record"] += 1
        return await read(self, key, texts)

    monkeypatch.setattr(RecordStore, "read_record", read_counted)
    return counts


def chain() -> WorkflowPlan:
    return plan(*(node(f"n{index}", needs=[f"n{index - 1}"] if index else []) for index in range(NODES)))


async def test_a_run_looks_for_no_record_and_a_resume_reads_each_once(counted: Counter[str]) -> None:
    runner = executor(Worker())
    await runner.execute_plan(chain())
    assert counted["read_record"] == 0
    resumed = Worker()
    await executor(resumed).execute_plan(chain(), resume_from=run_id(runner))
    assert resumed.executed == []
    assert counted["read_record"] == NODES


async def test_prefect_searches_neither_the_plan_nor_the_result(counted: Counter[str]) -> None:
    result = await executor(Worker()).execute_plan(chain())
    assert len(result.node_results) == NODES
    assert 0 < counted["_collect_futures"] < NODES
    assert 0 < counted["resolve_to_final_result"] < 4 * NODES, "the other parameters"
