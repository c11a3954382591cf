"""The records of a run, and the report that is kept beside them."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from pathlib import Path
from uuid import uuid4

import pytest

from tests.plans import node, plan
from vibe_prefect import ToolRegistry, compile_plan
from vibe_prefect.engine.records.record_lock import Hold
from vibe_prefect.engine.records.records import Records
from vibe_prefect.engine.records.storage import open_store
from vibe_prefect.errors import RunInUseError, UsageError
from vibe_prefect.reporting.report import RunReport
from vibe_prefect.reporting.report_making import RunIdentity, report_of
from vibe_prefect.results import ExecutionResult

RUN = RunIdentity("run-1", "plan-fast-fox", "Completed", None, "outputs", None, simulated=False)


def report() -> RunReport:
    compiled = compile_plan(plan(node("a"), node("b", needs=["a"])), tools=ToolRegistry(), simulate="all")
    return report_of(compiled, ExecutionResult("plan"), RUN)


async def test_a_report_comes_back_as_it_was(folder: Path) -> None:
    records = Records(await open_store("records"), "run")
    made = report()
    await records.write_report(made)
    assert await records.report("run-1") == made
    assert (folder / "records" / "run" / "report-run-1.json").is_file()


@pytest.mark.usefixtures("folder")
async def test_a_run_without_a_report_has_none() -> None:
    assert await Records(await open_store("records"), "run").report("run-1") is None


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "is damaged: "), ("[]", "its schema is None"), ('{"schema": 99}', "its schema is 99")],
)
async def test_a_damaged_report_is_told(folder: Path, content: str, message: str) -> None:
    records = Records(await open_store("records"), "run")
    path = folder / "records" / records.report_path("run-1")
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(UsageError, match=message):
        await records.report("run-1")


@pytest.mark.parametrize(
    ("holds", "wanted", "is_free"),
    [
        ([Hold.WITH_CHILDREN], Hold.AS_CHILD, True),
        ([Hold.WITH_CHILDREN, Hold.AS_CHILD], Hold.AS_CHILD, True),
        ([Hold.WITH_CHILDREN, Hold.AS_CHILD], Hold.WITH_CHILDREN, False),
        ([Hold.AS_CHILD], Hold.ALONE, False),  # the process of the parent was killed
        ([Hold.ALONE], Hold.AS_CHILD, False),
    ],
)
async def test_child_runs_share_the_records_of_their_parent_with_nobody_else(
    folder: Path, holds: list[Hold], wanted: Hold, is_free: bool
) -> None:
    records = Records(await open_store(folder / "records"), str(uuid4()))
    with ExitStack() as held:
        for hold in holds:
            held.enter_context(records.hold(hold))
        refusal = nullcontext() if is_free else pytest.raises(RunInUseError, match="is being executed by")
        with refusal, records.hold(wanted):
            pass
