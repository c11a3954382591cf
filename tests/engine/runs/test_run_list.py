from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, Literal
from uuid import UUID, uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.filesystems import LocalFileSystem
from prefect.states import Cancelled, Completed, Crashed, Failed, Running, Scheduled

from tests.executors import executor
from tests.plans import node, plan
from vibe_prefect import WorkflowNode, WorkflowPlan
from vibe_prefect.engine.flow import run_plan
from vibe_prefect.engine.past_run import PastRun, RunParameters
from vibe_prefect.engine.records.record_lock import LOCK_FILE
from vibe_prefect.engine.records.records import Records
from vibe_prefect.engine.records.storage import OpaqueResultSerializer, RecordFolder, RecordStore, open_store
from vibe_prefect.engine.runs import resume_target as runs_module
from vibe_prefect.engine.runs.pruning import Kept, Remains, delete, find_remains, folder_of, namespaces_in
from vibe_prefect.engine.runs.resume_chains import ResumeChains
from vibe_prefect.engine.runs.resume_target import newest_run
from vibe_prefect.engine.runs.run_list import (
    RunRow,
    list_runs,
    outputs_of,
    read_namespace,
    refused_outputs_of,
    total_bytes,
)
from vibe_prefect.errors import RunInUseError, UnknownRunError, UsageError
from vibe_prefect.run.handlers import NodeHandler

DAY = timedelta(days=1)
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
KEY = "0" * 64
IN_A_BLOCK = RecordStore(result_storage=LocalFileSystem(basepath="block"), serializer=OpaqueResultSerializer())


def flow_run(**fields: Any) -> FlowRun:
    given = {"flow_id": uuid4(), "name": "calm-otter", "created": NOW, "state": Completed()} | fields
    return FlowRun.model_validate(given)


def known(name: str, *, after: str | None = None, minutes: int = 0, id: UUID | None = None) -> PastRun:
    parameters = {"resume_from": after} if after else {}
    return PastRun.of(
        flow_run(id=id or uuid4(), name=name, parameters=parameters, created=NOW + timedelta(minutes=minutes))
    )


def as_parameter(made: WorkflowPlan) -> dict[str, Any]:
    return made.model_dump(mode="json")


def write_record(root: Path, namespace: str, node_id: str, content: str = "{}") -> Path:
    path = root / namespace / f"{node_id}-{KEY}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def make_old(folder: Path, days: float) -> None:
    when = datetime.now(UTC).timestamp() - days * 86_400
    for path in (*folder.iterdir(), folder):
        os.utime(path, (when, when))


async def a_store(root: Path) -> RecordStore:
    return await open_store(root.resolve())


@pytest.mark.parametrize(
    ("value", "plan_id", "total"),
    [
        (as_parameter(plan(node("a"), node("b", children=[node("c").model_dump()]))), "plan", 3),
        (None, None, None),
        ("text", None, None),
        (["x"], None, None),
        ({"x": 1}, None, None),
        ({"id": 7, "root_nodes": list[str]()}, None, 0),
        ({"id": "p"}, "p", None),
        ({"id": "p", "root_nodes": [{"type": "x"}]}, "p", None),
        ({"id": "p", "root_nodes": [3]}, "p", None),
        ({"id": "p", "root_nodes": [{"id": "a", "children": "b"}]}, "p", None),
        ({"id": "p", "root_nodes": [{"id": "a", "children": None}]}, "p", 1),
    ],
)
def test_a_plan_is_read_whatever_the_parameters_hold(value: Any, plan_id: str | None, total: int | None) -> None:
    outline = PastRun.of(flow_run(parameters={"plan": value})).outline
    assert (outline.plan_id, None if outline.nodes is None else len(outline.nodes)) == (plan_id, total)


def test_missing_and_damaged_parameters_are_no_reason_to_fail() -> None:
    run = PastRun.of(flow_run(parameters={}))
    assert (run.plan_id, run.outline.nodes, run.parameters.resume_from, run.output) == (None, None, None, "outputs")
    wrong: dict[str, Any] = {"resume_from": 3, "output": ["x"], "simulate": "perhaps", "concurrency": {}, "reuse": 1}
    run = PastRun.of(flow_run(parameters=wrong))
    assert (run.parameters.resume_from, run.output) == ("3", "outputs")
    assert (run.parameters.simulate, run.parameters.concurrency, run.shares) == (False, None, False)


def test_runs_of_one_plan_share_their_nodes_in_memory() -> None:
    seen: dict[frozenset[str], frozenset[str]] = {}
    parameters = {"plan": as_parameter(plan(node("a"), node("b")))}
    first, second = (PastRun.of(flow_run(parameters=parameters)).outlined(seen) for _ in range(2))
    assert first.outline.nodes is second.outline.nodes


def test_a_namespace_is_named_by_the_head_of_the_chain() -> None:
    head = known("one")
    second, third = known("two", after="one", minutes=1), known("three", after="two", minutes=2)
    by_id = known("four", after=str(third.id), minutes=3)
    chains = ResumeChains()
    chains.add([by_id, third, second, head])
    assert {run.record_namespace for run in chains} == {str(head.id)}
    assert chains.with_root(by_id).first == head


def test_a_name_stands_for_the_run_that_had_it_then() -> None:
    old, new = known("twin", minutes=0), known("twin", minutes=10)
    run = known("later", after="twin", minutes=5)
    chains = ResumeChains()
    chains.add([new, run, old])
    assert chains.with_root(run).record_namespace == str(old.id)


def test_a_broken_chain_is_followed_as_far_as_it_goes() -> None:
    gone = uuid4()
    by_id, by_name = known("a", after=str(gone)), known("b", after="gone")
    chains = ResumeChains()
    chains.add([by_id, by_name])
    assert [(run.record_namespace, run.first) for run in chains] == [(str(gone), None), (str(by_name.id), None)]


def test_runs_that_form_a_circle_end() -> None:
    ids = uuid4(), uuid4()
    chains = ResumeChains()
    chains.add([known("a", id=ids[0], after=str(ids[1])), known("b", id=ids[1], after=str(ids[0]))])
    assert all(run.first is None for run in chains)


def test_only_files_count_as_records(tmp_path: Path) -> None:
    namespace = str(uuid4())
    write_record(tmp_path, namespace, "a-b", "12345")
    inside = tmp_path / namespace
    (inside / LOCK_FILE).write_text("process 1")
    (inside / "a-short").write_text("12")
    (inside / f"../bad-{KEY[1:]}").touch()
    big = tmp_path / "big"
    big.write_text("x" * 1000)
    (inside / f"link-{KEY}").symlink_to(big)
    records = read_namespace(inside)
    assert records is not None
    assert (records.bytes, set(records.written)) == (7, {"a-b"})
    (tmp_path / "elsewhere").symlink_to(inside)
    assert read_namespace(tmp_path / "elsewhere") is None
    assert read_namespace(tmp_path / "nowhere") is None


def test_namespaces_are_folders_named_as_one(tmp_path: Path) -> None:
    good, shared = str(uuid4()), "plan-nightly.1"
    strange = ("..hidden", "-rf", "a b", "\x1b[31m", uuid4().hex, "$(id)", "plan-", "plan-..", "plan-a b", "plans")
    for name in (good, shared, good.upper(), *strange):
        (tmp_path / name).mkdir(exist_ok=True)
    (tmp_path / str(uuid4())).touch()
    (tmp_path / str(uuid4())).symlink_to(tmp_path / good)
    assert sorted(namespaces_in(tmp_path)) == sorted([good, shared])
    assert list(namespaces_in(tmp_path / "nowhere")) == []


def with_outputs(root: Path, plan_id: str = "p", output: Any = None) -> tuple[PastRun, Path]:
    run = PastRun.of(
        flow_run(
            id=uuid4(), parameters={"plan": {"id": plan_id, "root_nodes": []}, "output": output or str(root / "out")}
        )
    )
    return run, root / "out" / "p" / f"2026-11-23T120000-{run.id.hex[-8:]}"


def test_the_output_folder_is_the_runs_own(tmp_path: Path) -> None:
    run, folder = with_outputs(tmp_path)
    assert outputs_of(run) is None
    folder.mkdir(parents=True)
    (folder / "a.txt").write_text("12345")
    (folder / "link").symlink_to("/etc")
    found = outputs_of(run)
    assert found is not None
    assert (found.path, found.bytes) == (folder, 5)
    assert outputs_of(replace(run, parameters=RunParameters(resume_from="gone"))) is None


def test_runs_that_share_their_records_have_the_plans_namespace_and_folder(tmp_path: Path) -> None:
    given: dict[str, Any] = {"plan": {"id": "p", "root_nodes": []}, "output": str(tmp_path / "out"), "reuse": "plan"}
    run = PastRun.of(flow_run(id=uuid4(), parameters=given))
    assert run.record_namespace == "plan-p"
    shared = tmp_path / "out" / "p" / "shared"
    shared.mkdir(parents=True)
    found = outputs_of(run)
    assert found is not None
    assert found.path == shared


def test_a_hostile_plan_id_names_no_namespace() -> None:
    run = PastRun.of(flow_run(parameters={"plan": {"id": "../../etc", "root_nodes": []}, "reuse": "plan"}))
    assert run.record_namespace == str(run.id)


@pytest.mark.parametrize("which", ["run", "plan"])
def test_an_output_folder_behind_a_link_is_not_the_runs_own(tmp_path: Path, which: str) -> None:
    run, folder = with_outputs(tmp_path)
    target = tmp_path / "precious"
    (target / folder.name).mkdir(parents=True)
    link, to = (folder, target / folder.name) if which == "run" else (folder.parent, target)
    link.parent.mkdir(parents=True)
    link.symlink_to(to)
    assert folder.is_dir()
    assert outputs_of(run) is None


@pytest.mark.parametrize(("plan_id", "output"), [("../p", None), ("..", None), ("", None), ("p", "a\0b"), ("p", 3)])
def test_hostile_parameters_name_no_output_folder(tmp_path: Path, plan_id: str, output: Any) -> None:
    run, folder = with_outputs(tmp_path, plan_id, output)
    folder.mkdir(parents=True)
    assert outputs_of(run) is None


@pytest.mark.parametrize("deployed", [{"deployment_id": uuid4()}, {"parent_task_run_id": uuid4()}])
def test_the_output_folder_of_a_deployed_run_is_within_the_operators(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deployed: dict[str, Any]
) -> None:
    """Somebody who fills in a form names no folder that pruning deletes, or that a report reads."""
    plan_id, output = "p", tmp_path / "out"
    given: dict[str, Any] = {"plan": {"id": plan_id, "root_nodes": []}, "output": str(output), "reuse": "plan"}
    run = flow_run(parameters=given, **deployed)
    (output / plan_id / "shared").mkdir(parents=True)
    assert outputs_of(PastRun.of(run)) is None
    assert refused_outputs_of(PastRun.of(run)) == output / plan_id / "shared"
    monkeypatch.setenv("PREFECT_INTEGRATIONS_VIBE_PREFECT_OUTPUT", str(tmp_path))
    assert outputs_of(PastRun.of(run)) is not None
    assert refused_outputs_of(PastRun.of(run)) is None


async def test_pruning_deletes_a_namespace_and_nothing_beside_it(tmp_path: Path) -> None:
    store = await a_store(tmp_path / "records")
    root = folder_of(store).root
    namespace, other, precious = str(uuid4()), str(uuid4()), tmp_path / "precious"
    precious.write_text("x")
    write_record(root, namespace, "a")
    (root / namespace / f"link-{KEY}").symlink_to(precious)
    write_record(root, other, "a")
    assert delete(store, remains(root, namespace)) is None
    assert [path.name for path in root.iterdir()] == [other]
    assert precious.read_text() == "x"


def remains(root: Path, namespace: str) -> Remains:
    return Remains(namespace, (), NOW, read_namespace(root / namespace))


async def test_what_a_process_holds_stays(tmp_path: Path) -> None:
    store = await a_store(tmp_path)
    namespace = str(uuid4())
    record = write_record(tmp_path, namespace, "a")
    with Records(store, namespace).hold():
        assert delete(store, remains(tmp_path, namespace)) == Kept(namespace, (), "a process holds it")
    assert record.exists()


async def test_what_a_run_has_gone_on_from_meanwhile_stays(tmp_path: Path) -> None:
    store = await a_store(tmp_path)
    namespace = str(uuid4())
    write_record(tmp_path, namespace, "a")
    make_old(tmp_path / namespace, 40)
    seen = remains(tmp_path, namespace)
    write_record(tmp_path, namespace, "b")
    assert delete(store, seen) == Kept(namespace, (), "a run has resumed it meanwhile")
    assert len(read_namespace(tmp_path / namespace).written) == 2  # pyright: ignore[reportOptionalMemberAccess]


@pytest.mark.parametrize(
    ("strange", "reason"),
    [
        ("link", "its folder is a link"),
        ("lock", "its lock is a link or no regular file"),
        ("pipe", "its lock is a link or no regular file"),
        ("folder", "there is a folder among its records"),
    ],
)
async def test_what_no_run_makes_stays(tmp_path: Path, strange: str, reason: str) -> None:
    store = await a_store(tmp_path / "records")
    root = folder_of(store).root
    namespace, precious = str(uuid4()), tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("x")
    seen = Remains(namespace, (), NOW, None)
    root.mkdir()
    if strange == "link":
        (root / namespace).symlink_to(precious)
    else:
        write_record(root, namespace, "a")
    if strange == "lock":
        (root / namespace / LOCK_FILE).symlink_to(precious / "file")
    if strange == "pipe":
        os.mkfifo(root / namespace / LOCK_FILE)
    if strange == "folder":
        (root / namespace / "mine").mkdir()
    assert delete(store, seen) == Kept(namespace, (), reason)
    assert (precious / "file").read_text() == "x"
    assert strange == "link" or (root / namespace / f"a-{KEY}").exists()


def test_records_in_a_storage_block_are_not_pruned(tmp_path: Path) -> None:
    store = RecordStore(result_storage=LocalFileSystem(basepath=str(tmp_path)), serializer=OpaqueResultSerializer())
    with pytest.raises(UsageError, match=r"kept in a storage block .LocalFileSystem., and only those in a folder"):
        folder_of(store)


# With a server


class Failing:
    """A handler that fails at the nodes it is told."""

    def __init__(self, *ids: str) -> None:
        self.ids = ids

    def __call__(self, node: WorkflowNode) -> str:
        if node.id in self.ids:
            raise ValueError(f"{node.id} fails")
        return node.id


async def ran(
    handler: NodeHandler,
    made: WorkflowPlan,
    resume_from: str | None = None,
    reuse: Literal["run", "plan"] = "run",
) -> str:
    """Run a plan; returns the flow run's id."""
    runner = executor(handler, reuse=reuse, wait_recorded=True)
    await runner.execute_plan(made, resume_from=resume_from)
    assert runner.last_run is not None
    return str(runner.last_run.flow_run_id)


def chain(changed: str | None = None) -> WorkflowPlan:
    nodes = [node(id, needs=needs) for id, needs in (("a", []), ("b", ["a"]), ("c", ["b"]), ("d", ["c"]))]
    for made in nodes:
        made.description += " anew" if made.id == changed else ""
    return plan(*nodes, id="four")


async def rows_of(*ids: str, storage: str = "records") -> list[RunRow]:
    store = await a_store(Path(storage))
    async with get_client() as client:
        found = {str(row.run.id): row for row in await list_runs(client, store, 200)}
    return [found[id] for id in ids]


async def remains_of(age: timedelta, *, outputs: bool = False) -> tuple[list[Remains], list[Kept]]:
    files = folder_of(await a_store(Path("records")))
    async with get_client() as client:
        return await find_remains(client, files, datetime.now(UTC) - age, outputs=outputs)


def named(remains: Sequence[Remains | Kept]) -> list[str]:
    return [item.namespace for item in remains]


@pytest.mark.server
async def test_a_failed_run_shows_how_many_nodes_are_done(prefect_server: str, folder: Path) -> None:
    id = await ran(Failing("c"), chain())
    (row,) = await rows_of(id)
    assert (row.run.plan_id, row.run.state, row.done, row.total) == ("four", "Failed", 2, 4)
    records = read_namespace(Path("records", id))
    assert records is not None
    assert (row.run.record_namespace, row.record_bytes) == (id, records.bytes)
    assert row.run.name.startswith("four-")
    assert 0 <= row.age(datetime.now(UTC)) < 60


@pytest.mark.server
async def test_without_its_records_the_server_tells_what_was_done(prefect_server: str, folder: Path) -> None:
    id = await ran(Failing("c"), chain())
    (row,) = await rows_of(id, storage="elsewhere")
    assert (row.done, row.total, row.record_bytes) == (2, 4, 0)


@pytest.mark.server
async def test_a_chain_of_runs_shares_one_namespace_and_counts_once(prefect_server: str, folder: Path) -> None:
    first = await ran(Failing("c"), chain())
    second = await ran(Failing("d"), chain(), first)
    third = await ran(Failing(), chain(), second)
    rows = await rows_of(first, second, third)
    assert [row.done for row in rows] == [2, 3, 4]
    assert {row.run.record_namespace for row in rows} == {first}
    assert total_bytes(rows) == (rows[0].record_bytes, 0)


@pytest.mark.server
async def test_a_record_of_a_nodes_older_version_is_not_done(prefect_server: str, folder: Path) -> None:
    first = await ran(Failing(), chain())
    second = await ran(Failing("b"), chain(changed="b"), first)
    rows = await rows_of(first, second)
    assert [(row.done, row.total) for row in rows] == [(4, 4), (1, 4)]


@pytest.mark.server
async def test_the_head_of_a_chain_is_found_beyond_the_limit(prefect_server: str, folder: Path) -> None:
    first = await ran(Failing("c"), chain())
    second = await ran(Failing("c"), chain(), first)
    async with get_client() as client:
        rows = await list_runs(client, IN_A_BLOCK, 1)
    assert [(str(row.run.id), row.run.record_namespace, row.record_bytes, row.done) for row in rows] == [
        (second, first, None, 2)
    ]


@pytest.mark.server
async def test_what_is_scheduled_for_later_is_not_among_the_newest(prefect_server: str, folder: Path) -> None:
    ended = await ran(Failing("c"), chain())
    async with get_client() as client:
        later = await client.create_flow_run(run_plan, state=Scheduled(scheduled_time=datetime.now(UTC) + DAY))
        waiting = await client.create_flow_run(run_plan, state=Scheduled(scheduled_time=datetime.now(UTC)))
        try:
            assert [str(row.run.id) for row in await list_runs(client, IN_A_BLOCK, 2)] == [str(waiting.id), ended]
            assert (await newest_run(client, waiting=True)).id == waiting.id
            assert str((await newest_run(client)).id) == ended, "a run that waits has not begun"
        finally:
            for run in (later, waiting):
                await client.delete_flow_run(run.id)


@pytest.mark.server
async def test_a_run_that_never_began_is_not_the_newest(prefect_server: str, folder: Path) -> None:
    ended = await ran(Failing("c"), chain())
    async with get_client() as client:
        refused = [Failed(message="nothing was run"), Crashed(message="the process ended"), Cancelled()]
        made = [await client.create_flow_run(run_plan, state=state) for state in refused]
        try:
            assert str((await newest_run(client)).id) == ended
        finally:
            for run in made:
                await client.delete_flow_run(run.id)


@pytest.mark.server
async def test_a_bad_name_to_resume_leaves_no_run_behind(prefect_server: str, folder: Path) -> None:
    ended = await ran(Failing("c"), chain())
    with pytest.raises(UnknownRunError, match="no-such-run"):
        await executor().execute_plan(chain(), resume_from="no-such-run")
    async with get_client() as client:
        [newest] = await list_runs(client, IN_A_BLOCK, 1)
    assert str(newest.run.id) == ended


@pytest.mark.server
@pytest.mark.parametrize("skew", [DAY, -DAY])
async def test_newest_run_is_found_though_clocks_differ(
    prefect_server: str, folder: Path, monkeypatch: pytest.MonkeyPatch, skew: timedelta
) -> None:
    class Skewed(datetime):
        """The clock of a machine that is a day off."""

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime.now(tz) + skew

    monkeypatch.setattr(runs_module, "datetime", Skewed)
    async with get_client() as client:
        later = await client.create_flow_run(run_plan, state=Scheduled(scheduled_time=datetime.now(UTC) + DAY / 2))
        run = await client.create_flow_run(run_plan, state=Running(timestamp=datetime.now(UTC) + skew))
        try:
            assert (await newest_run(client)).id == run.id
            assert [str(row.run.id) for row in await list_runs(client, IN_A_BLOCK, 1)] == [str(run.id)]
        finally:
            for made in (later, run):
                await client.delete_flow_run(made.id)


async def test_records_that_cannot_be_locked_are_told_and_do_not_stop_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = await a_store(tmp_path)
    for number in (errno.EROFS, errno.ENOSPC, errno.EACCES):
        error = OSError(number, os.strerror(number))

        def refuse(*_: object, error: OSError = error, **__: object) -> None:
            raise error

        with monkeypatch.context() as patched:
            patched.setattr(Path, "mkdir", refuse)
            with Records(store, "a").hold() as alone:
                assert not alone
        said = caplog.messages[-1]
        assert said.startswith(f"the folder of records {str(tmp_path)!r} cannot be written ({os.strerror(number)}): ")
        assert said.endswith("set PREFECT_INTEGRATIONS_VIBE_PREFECT_STORAGE to another folder")


async def test_records_in_a_place_that_is_no_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = await a_store(tmp_path / "file")
    with (
        pytest.raises(UsageError, match=r"records '.*file' cannot be written \(.*set PREFECT_.*_STORAGE to another"),
        Records(store, "a").hold(),
    ):
        pass


async def test_lock_is_held_though_its_owner_cannot_be_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store = await a_store(tmp_path)
    monkeypatch.setattr(os, "pwrite", full)
    with Records(store, "a").hold() as alone:
        assert alone
        with pytest.raises(RunInUseError, match="another process"), Records(store, "a").hold():
            pass


@pytest.mark.server
async def test_only_what_is_old_enough_is_pruned(prefect_server: str, folder: Path) -> None:
    store = await a_store(Path("records"))
    recent = await ran(Failing("c"), chain())
    old, young = str(uuid4()), str(uuid4())
    for namespace, days in ((old, 40), (young, 20)):
        write_record(Path("records"), namespace, "a")
        make_old(Path("records", namespace), days)
    found, kept = await remains_of(timedelta(days=30))
    assert (named(found), found[0].runs, kept) == ([old], (), [])
    assert delete(store, found[0]) is None
    assert {path.name for path in Path("records").iterdir()} == {recent, young}
    everything, _ = await remains_of(timedelta(0))
    assert set(named(everything)) == {recent, young}


@pytest.mark.server
async def test_a_namespace_is_as_old_as_its_newest_run_or_record(prefect_server: str, folder: Path) -> None:
    first = await ran(Failing("c"), chain())
    second = await ran(Failing(), chain(), first)
    make_old(Path("records", first), 40)
    assert await remains_of(timedelta(hours=1)) == ([], [])
    (found,), _ = await remains_of(timedelta(0))
    assert len(found.runs) == 2
    (row,) = await rows_of(second)
    assert found.runs[1] == row.run.name


@pytest.mark.server
async def test_a_run_that_is_not_over_is_never_pruned(prefect_server: str, folder: Path) -> None:
    begun, let_go = asyncio.Event(), asyncio.Event()

    async def slow(node: WorkflowNode) -> str:
        begun.set()
        await asyncio.wait_for(let_go.wait(), 30)
        return node.id

    running = asyncio.create_task(ran(slow, plan(node("a"))))
    await asyncio.wait_for(begun.wait(), 30)
    found, kept = await remains_of(timedelta(0))
    let_go.set()
    id = await running
    assert found == []
    assert [(item.namespace, item.reason) for item in kept] == [(id, f"the run {kept[0].runs[0]} is Running")]


@pytest.mark.server
async def test_what_a_run_that_is_not_over_goes_on_from_is_never_pruned(prefect_server: str, folder: Path) -> None:
    first = await ran(Failing("c"), chain())
    second = await ran(Failing("c"), chain(), first)
    async with get_client() as client:
        await client.set_flow_run_state(UUID(second), Running(), force=True)
        found, kept = await remains_of(timedelta(0))
        await client.set_flow_run_state(UUID(second), Completed(), force=True)
    assert (found, named(kept)) == ([], [first])


@pytest.mark.server
async def test_a_namespace_that_a_process_holds_is_told(prefect_server: str, folder: Path) -> None:
    namespace = str(uuid4())
    write_record(Path("records"), namespace, "a")
    with Records(await a_store(Path("records")), namespace).hold():
        assert await remains_of(timedelta(0)) == ([], [Kept(namespace, (), "a process holds it")])


@pytest.mark.server
async def test_records_that_runs_share_are_counted_and_pruned_as_one(prefect_server: str, folder: Path) -> None:
    made = chain()
    made.id = f"shared-{uuid4().hex[:8]}"
    ids = [await ran(Failing(*failing), made, reuse="plan") for failing in (["c"], [])]
    rows = await rows_of(*ids)
    assert [(row.run.record_namespace, row.done) for row in rows] == [(f"plan-{made.id}", done) for done in (2, 4)]
    assert rows[0].record_bytes == rows[1].record_bytes
    assert rows[0].record_bytes
    (found,) = [item for item in (await remains_of(timedelta(0)))[0] if item.namespace == f"plan-{made.id}"]
    assert len(found.runs) == 2
    assert delete(await a_store(Path("records")), found) is None
    assert not (Path("records") / f"plan-{made.id}").exists()


@pytest.mark.server
async def test_outputs_go_only_when_asked_for(prefect_server: str, folder: Path) -> None:
    id = await ran(Failing("c"), chain())
    (row,) = await rows_of(id)
    assert row.outputs is None
    runner = executor(Failing(), wait_recorded=True)
    await runner.execute_plan(chain(), resume_from=id)
    assert runner.last_run is not None
    made = runner.last_run.output_root
    made.mkdir(parents=True)
    (made / "text").write_text("12345")
    beside = made.parent / "mine"
    beside.mkdir()
    (row,) = await rows_of(id)
    assert row.outputs is not None
    assert (row.outputs.path, row.outputs.bytes) == (made, 5)
    without, found = [
        next(item for item in (await remains_of(timedelta(0), outputs=outputs))[0] if item.namespace == id)
        for outputs in (False, True)  # with outputs, those of other tests' runs on this server are found as well
    ]
    assert (without.outputs, [item.path for item in found.outputs]) == ((), [made])
    assert found.bytes == without.bytes + 5
    assert delete(await a_store(Path("records")), found) is None
    assert list(made.parent.iterdir()) == [beside]


@pytest.mark.server
async def test_prune_says_which_outputs_stay_since_no_operator_allows_them(prefect_server: str, folder: Path) -> None:
    given = {"plan": as_parameter(plan(node("a"), id="foreign")), "output": str(folder / "elsewhere")}
    async with get_client() as client:
        flow = await client.create_flow(run_plan)
        deployment = await client.create_deployment(flow, f"foreign-{uuid4()}")
        made = await client.create_flow_run_from_deployment(deployment, parameters=given, state=Completed())
        run = await client.read_flow_run(made.id)
        await client.delete_deployment(deployment)
    stays = folder / "elsewhere" / "foreign" / PastRun.of(run).output_name
    assert str(run.id) not in named((await remains_of(timedelta(0), outputs=True))[1])
    stays.mkdir(parents=True)
    (found,) = (one for one in (await remains_of(timedelta(0), outputs=True))[1] if one.namespace == str(run.id))
    assert found.runs == (run.name,)
    assert found.reason.startswith(f"its output folder {stays} lies outside the one of the setting PREFECT_")
    assert str(run.id) not in named((await remains_of(timedelta(days=1), outputs=True))[1])
    assert str(run.id) not in named((await remains_of(timedelta(0)))[1])


async def test_a_record_folder_that_does_not_exist_holds_nothing(tmp_path: Path) -> None:
    files = RecordFolder(basepath=str(tmp_path / "nowhere"))
    assert list(namespaces_in(files.root)) == []
