"""The report of a run, kept beside its records."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.plans import node, plan
from vibe_prefect import ToolRegistry, compile_plan
from vibe_prefect.engine.documents import document_path, read_document, write_report
from vibe_prefect.engine.storage import open_store
from vibe_prefect.errors import UsageError
from vibe_prefect.reporting.report import RunIdentity, RunReport, report_of
from vibe_prefect.results import ExecutionResult

RUN = RunIdentity("run-1", "plan-fast-fox", "Completed", None, "outputs", None, simulated=False)


def report() -> RunReport:
    compiled = compile_plan(plan(node("a"), node("b", needs=["a"])), tools=ToolRegistry(), simulate="all")
    return report_of(compiled, ExecutionResult("plan"), RUN)


async def test_a_report_comes_back_as_it_was(folder: Path) -> None:
    store = await open_store("records")
    made = report()
    await write_report(store, "lineage", made)
    assert await read_document(store, "lineage", "run-1") == made
    assert (folder / "records" / "lineage" / "report-run-1.json").is_file()


@pytest.mark.usefixtures("folder")
async def test_a_run_without_a_report_has_none() -> None:
    store = await open_store("records")
    assert await read_document(store, "lineage", "run-1") is None


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "is damaged: "), ("[]", "its schema is None"), ('{"schema": 99}', "its schema is 99")],
)
async def test_a_damaged_report_is_told(folder: Path, content: str, message: str) -> None:
    path = folder / "records" / document_path("lineage", "run-1")
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(UsageError, match=message):
        await read_document(await open_store("records"), "lineage", "run-1")
