"""Large plans: kept beside the records, named by the run's parameter, and found again by every reader."""

from __future__ import annotations

import asyncio
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun

from tests.cli import command
from tests.executors import Worker, executor, run_id
from tests.plans import node, plan
from vibe_prefect import ExecutionStatus, WorkflowPlan, run_plan
from vibe_prefect.engine.inputs.plan_store import KeptPlan, kept_plan, recorded_data
from vibe_prefect.engine.past_run import PastRun
from vibe_prefect.engine.records.storage import RecordStore, open_store
from vibe_prefect.engine.runs.earlier_runs import earlier_run
from vibe_prefect.engine.runs.load_report import load_report
from vibe_prefect.engine.runs.plan_pruning import unused_plans
from vibe_prefect.engine.runs.pruning import folder_of
from vibe_prefect.engine.runs.run_list import list_runs
from vibe_prefect.errors import KeptPlanError, UsageError
from vibe_prefect.plan.reading.size import MAX_INLINE_BYTES, inline_limit, slim_data, weight
from vibe_prefect.settings.package import variable

RUN_PLAN = cast("Any", run_plan)
SHA256 = "0" * 64
HERE = variable("storage")


def large(last: str = "") -> WorkflowPlan:
    """A plan of 400 kB."""
    text = "A line of the long report. " * 5_000
    return plan(*(node(id, description=f"{text}{id}{last}") for id in ("a", "b", "c")), id="large")


def plan_of(run: FlowRun) -> KeptPlan:
    kept = kept_plan(run.parameters["plan"])
    assert kept is not None
    return kept


@pytest.mark.parametrize(
    ("value", "reference"),
    [
        (f"kept:nightly.digest-2@sha256:{SHA256}", KeptPlan("nightly.digest-2", SHA256)),
        (f"  kept:a@sha256:{SHA256}\n", KeptPlan("a", SHA256)),
        (f"kept:a@sha256:{SHA256}0", None),
        (f"kept:../a@sha256:{SHA256}", None),
        (f"kept:@sha256:{SHA256}", None),
        (f"./kept:a@sha256:{SHA256}", None),
        ("nightly-digest", None),
        ("flows/plans/a.yaml", None),
        ({"id": "a"}, None),
        (None, None),
    ],
)
def test_reference_to_a_kept_plan_is_like_no_other_parameter(value: object, reference: KeptPlan | None) -> None:
    assert kept_plan(value) == reference


def test_plan_parameter_leaves_out_what_is_at_its_default() -> None:
    made = plan(node("a", parameters={"empty": None}), node("b", needs=["a"], estimated_duration=3.0))
    data = slim_data(made)
    assert data["root_nodes"] == [
        {"id": "a", "type": "generate", "description": "do a", "parameters": {"empty": None}},
        {"id": "b", "type": "generate", "description": "do b", "dependencies": ["a"], "estimated_duration": 3.0},
    ]
    assert WorkflowPlan.model_validate(data) == made


@pytest.mark.parametrize(("limit", "most"), [(None, MAX_INLINE_BYTES), (524_288, MAX_INLINE_BYTES), (100_000, 50_000)])
def test_inline_plan_takes_half_of_what_the_server_does(limit: int | None, most: int) -> None:
    assert inline_limit(limit) == most


@pytest.mark.parametrize("text", ["plain", "é", "漢字", "🙂", '"\\'])
def test_weight_counts_as_prefect_counts(text: str) -> None:
    from prefect._internal.schemas.validators import validate_parameter_size

    parameters = {"plan": {"text": text}}
    validate_parameter_size(parameters, weight(parameters))
    with pytest.raises(ValueError, match="must be less than"):
        validate_parameter_size(parameters, weight(parameters) - 1)


@pytest.fixture
async def store(folder: Path, monkeypatch: pytest.MonkeyPatch) -> RecordStore:
    """Records in the working folder, also for whoever reads them by the settings."""
    monkeypatch.setenv(HERE, str(folder / "records"))
    return await open_store("records")


@pytest.mark.server
async def test_large_plan_is_kept_with_the_records_and_every_reader_finds_it(
    prefect_server: str, store: RecordStore
) -> None:
    first = executor(Worker({"b"}))
    await first.execute_plan(large())
    async with get_client() as client:
        run = await client.read_flow_run(UUID(run_id(first)))
        assert run.parameters["plan"] == f"kept:large@sha256:{plan_of(run).sha256}"
        assert (await PastRun.of(run).with_plan(store)).plan == large()
        (row,) = [row for row in await list_runs(client, store, 5) if str(row.run.id) == run_id(first)]
    assert (row.run.plan_id, row.done, row.total) == ("large", 2, 3)
    assert (await earlier_run(run.name)).plan == large()
    report = await load_report(run.name)
    assert [found.status.value for found in report.nodes] == ["completed", "failed", "completed"]

    again = Worker()
    second = executor(again)
    await second.execute_plan(large(), resume_from=run.name)
    assert again.executed == ["b"]
    shown = await asyncio.to_thread(
        command.call,
        *("resume", run.name, "--quiet"),
        cwd=Path(),
        extra={"PREFECT_API_URL": prefect_server, HERE: str(Path("records").resolve())},
    )
    assert "no tool, no handler" in shown.err  # the plan was found; its nodes have a handler in this process alone


@pytest.mark.server
@pytest.mark.parametrize("damage", ["gone", "changed", "elsewhere"])
async def test_kept_plan_that_is_not_there_is_told_with_what_to_do(
    damage: str, prefect_server: str, store: RecordStore, folder: Path
) -> None:
    runner = executor(Worker())
    await runner.execute_plan(large())
    async with get_client() as client:
        run = await client.read_flow_run(UUID(run_id(runner)))
    file = folder / "records" / plan_of(run).path
    if damage == "gone":
        file.unlink()
    elif damage == "changed":
        file.write_text(json.dumps(slim_data(large(" and more"))))
    looked = await open_store("elsewhere") if damage == "elsewhere" else store
    remedy = "give its file" if damage == "changed" else f"set {HERE} to the storage that the run used"
    with pytest.raises(KeptPlanError, match=remedy) as caught:
        await recorded_data(run.parameters["plan"], looked)
    assert plan_of(run).path in str(caught.value)
    async with get_client() as client:
        (row,) = [row for row in await list_runs(client, looked, 5) if str(row.run.id) == run_id(runner)]
    assert (row.run.plan_id, row.total) == ("large", None)


@pytest.mark.server
async def test_flow_takes_a_large_plan_and_the_reference_to_one(prefect_server: str, store: RecordStore) -> None:
    result: Any = await RUN_PLAN(large(), simulate=True)
    assert result.status is ExecutionStatus.COMPLETED
    async with get_client() as client:
        (run,) = await client.read_flow_runs(limit=1, sort="START_TIME_DESC")  # pyright: ignore[reportArgumentType]
        again: Any = await RUN_PLAN.with_options(retries=1)(run.parameters["plan"], simulate=True)
        assert again.status is ExecutionStatus.COMPLETED


@pytest.mark.server
async def test_large_plan_that_cannot_be_kept_is_refused(prefect_server: str, folder: Path) -> None:
    (folder / "records").mkdir()
    (folder / "records" / "plans").symlink_to(folder)
    with pytest.raises(UsageError, match=r"too many for a run's parameters, and cannot be kept .*plans is a link"):
        await executor(Worker()).execute_plan(large())


@pytest.mark.server
async def test_plan_with_a_json_schema_that_refers_runs(prefect_server: str, folder: Path) -> None:
    schema = {"$ref": "#/definitions/word", "definitions": {"word": {"type": "string"}}}
    runner = executor(Worker())
    result = await runner.execute_plan(plan(node("a", parameters={"schema": schema})))
    assert result.status is ExecutionStatus.COMPLETED
    async with get_client() as client:
        run = await client.read_flow_run(UUID(run_id(runner)))
    assert run.parameters["plan"]["root_nodes"][0]["parameters"] == {"schema": schema}


@pytest.mark.server
async def test_deployment_of_a_large_plan_refers_to_it_and_says_what_the_worker_needs(
    prefect_server: str, store: RecordStore, folder: Path
) -> None:
    nodes = [command.check(id, f"{'word ' * 30_000}{id}") for id in ("a", "b", "c")]
    path = command.write_plan(folder, nodes, "large-deployed")
    made = await asyncio.to_thread(
        command.call,
        *("deploy", path, "--pool", "large-plans"),
        cwd=folder,
        extra={"PREFECT_API_URL": prefect_server, HERE: str(folder / "records")},
    )
    assert made.code == 0, made.err
    assert "in the storage of records, which the worker must share" in made.out
    async with get_client() as client:
        deployment = await client.read_deployment_by_name("run-plan/large-deployed")
        kept = kept_plan(deployment.parameters["plan"])
        assert kept is not None
        result: Any = await RUN_PLAN(deployment.parameters["plan"])
        assert result.status is ExecutionStatus.COMPLETED
        files, now = folder_of(store), datetime.now(UTC) + timedelta(minutes=1)
        assert await unused_plans(client, files, now, []) == []
        await client.delete_deployment(deployment.id)
        assert await unused_plans(client, files, now, []) == []
        (namespace,) = (found.name for found in files.root.iterdir() if found.name != "plans")
        (unused,) = await unused_plans(client, files, now, [namespace])
        assert unused.path == files.root / kept.path


@pytest.mark.server
async def test_prune_deletes_kept_plans_with_the_records_of_their_runs(
    prefect_server: str, store: RecordStore, folder: Path
) -> None:
    extra = {"PREFECT_API_URL": prefect_server, HERE: str(folder / "records")}
    old, new = executor(Worker()), executor(Worker())
    await old.execute_plan(large())
    await new.execute_plan(large(" and more"))
    async with get_client() as client:
        kept = [plan_of(await client.read_flow_run(UUID(run_id(runner)))) for runner in (old, new)]
    files = [folder / "records" / one.path for one in kept]
    last_year = datetime.now(UTC).timestamp() - 400 * 86_400
    os.utime(files[0], (last_year, last_year))
    for path in (folder / "records" / run_id(old)).iterdir():
        path.unlink()
    (folder / "records" / run_id(old)).rmdir()
    looked = await asyncio.to_thread(
        command.call, *("prune", "--older-than", "300d", "--dry-run"), cwd=folder, extra=extra
    )
    assert "would delete 1 kept plan that nothing needs any more" in looked.out
    pruned = await asyncio.to_thread(
        command.call, *("prune", "--older-than", "300d", "--json"), cwd=folder, extra=extra
    )
    assert [found["path"] for found in pruned.json["plans"]] == [str(files[0])]
    assert [file.exists() for file in files] == [False, True]


@pytest.mark.server
async def test_validate_tells_what_a_large_plan_weighs(prefect_server: str, folder: Path) -> None:
    path = command.write_plan(folder, [command.check("a", "word " * 30_000), command.check("b", "word " * 60_000)])
    offline = await asyncio.to_thread(command.call, "validate", path, cwd=folder)
    asked = await asyncio.to_thread(command.on, prefect_server, "validate", path, cwd=folder)
    weighs = "weighs 450.3 kB among the parameters of a run, where up to 256.0 kB may stand"
    assert offline.lines[1] == f"{weighs}: it is kept as a file beside the records"
    assert asked.lines[1] == (f"{weighs} (the server takes 524.3 kB in all): it is kept as a file beside the records")
