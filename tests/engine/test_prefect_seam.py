"""What is borrowed from inside Prefect is there, and behaves as this package relies on."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, cast
from uuid import UUID, uuid4

import prefect
import pytest
from prefect import Flow, Task, flow, tags, task
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.objects import State, StateDetails, StateType, TaskRun, TaskRunResult
from prefect.context import AsyncClientContext, FlowRunContext, TaskRunContext
from prefect.events import Event
from prefect.events.clients import AssertingEventsClient, EventsClient
from prefect.events.worker import EventsWorker
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.filesystems import WritableFileSystem
from prefect.logging.handlers import PrefectConsoleHandler
from prefect.states import exception_to_failed_state
from prefect.utilities.annotations import quote
from prefect.utilities.callables import parameter_schema

import vibe_prefect
from vibe_prefect.engine.prefect_seam import event_stream
from vibe_prefect.engine.prefect_seam.clients import (
    as_default,
    cut_off,
    delete_once,
    fetch_json,
    fetch_json_now,
    skip_csrf,
)
from vibe_prefect.engine.prefect_seam.event_stream import HeldEvents, RunEventsWorker, event_of, send
from vibe_prefect.engine.prefect_seam.flows import LateSchemaFlow
from vibe_prefect.engine.prefect_seam.meanings import CACHED, cron_times, is_console_handler, raised_text
from vibe_prefect.engine.prefect_seam.storage import OpenResultStore, ResolvingFolder, read_block, write_block
from vibe_prefect.engine.prefect_seam.task_engine import OpenTask, state_event
from vibe_prefect.engine.prefect_seam.versions import TRIED, untried_version
from vibe_prefect.engine.records.storage import OpaqueResult, OpaqueResultSerializer

PACKAGE = Path(vibe_prefect.__file__).parent
PRIVATE = re.compile(
    r"prefect\._(?!_)|client\._client|\b_httpx_settings|\b_SafeStreamHandler|_apersist_result_record|\b_aread\b|\b_aexists\b"
)


def test_nothing_else_in_the_package_uses_a_private_name_of_prefect() -> None:
    users = {path.parent.name for path in PACKAGE.rglob("*.py") if PRIVATE.search(path.read_text())}
    assert users == {"prefect_seam"}


class Memory(WritableFileSystem):
    """A block with plain methods, as blocks of other packages have."""

    content: ClassVar[dict[str, bytes]] = {}

    def read_path(self, path: str) -> bytes:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self.content[path]

    def write_path(self, path: str, content: bytes) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        self.content[path] = content

    def get_directory(self, from_path: str | None = None, local_path: str | None = None) -> None:
        raise NotImplementedError

    def put_directory(
        self, local_path: str | None = None, to_path: str | None = None, ignore_file: str | None = None
    ) -> None:
        raise NotImplementedError


class Folder(ResolvingFolder):
    _block_type_name = "folder of a test"

    def resolve(self, path: str) -> Path:
        root = Path(self.basepath or "")
        return root / Path(path).name.lower() if path else root


@pytest.mark.parametrize("block", [Memory, Folder])
async def test_blocks_are_read_and_written_whether_their_methods_are_coroutines_or_not(
    block: Any, tmp_path: Path
) -> None:
    storage = block(basepath=str(tmp_path)) if block is Folder else block()
    await write_block(storage, "a", b"1")
    assert await read_block(storage, "a") == b"1"


async def test_folder_decides_which_file_a_path_means(tmp_path: Path) -> None:
    await write_block(Folder(basepath=str(tmp_path)), "A", b"1")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


class Store(OpenResultStore):
    """Remembers what Prefect asks it for."""

    asked: ClassVar[list[str]] = []
    kept: ClassVar[dict[str, Any]] = {}

    async def has_record(self, key: str) -> bool:
        self.asked.append("has")
        return Path(key).name in self.kept

    async def load_record(self, key: str) -> Any:
        self.asked.append("load")
        return self.kept[Path(key).name]

    async def save_record(self, key: str, result: Any, metadata: bytes) -> bool:
        self.asked.append("save")
        assert json.loads(metadata)["storage_key"] == key
        self.kept[Path(key).name] = result
        return True


@pytest.mark.server
async def test_store_is_asked_for_each_record_and_given_each_result(prefect_server: str, tmp_path: Path) -> None:
    store = Store(result_storage=Folder(basepath=str(tmp_path)), serializer=OpaqueResultSerializer())

    async def make() -> OpaqueResult:
        return OpaqueResult({"schema": 1})

    def key(context: Any, parameters: Any) -> str:
        return "key"

    work: Any = Task(make, persist_result=True, cache_key_fn=key, result_storage_key="key")

    @flow
    async def twice() -> list[str]:
        context = FlowRunContext.get()
        assert context is not None
        with context.model_copy(update={"result_store": store}):
            states: list[State[Any]] = [await work(return_state=True) for _ in range(2)]
            return [str(state.name) for state in states]

    assert await twice() == ["Completed", CACHED]
    assert store.asked == ["has", "save", "has", "load"]


@pytest.mark.server
class Noting(OpenTask):
    """A task that notes its task runs, with the states that they are in."""

    seen: ClassVar[list[tuple[UUID, str, Any]]] = []

    def created(self, task_run: TaskRun, parameters: Mapping[str, Any]) -> None:
        self.seen.append((task_run.id, task_run.state_name or "", parameters))


async def test_a_task_learns_its_task_run_before_the_server_does(prefect_server: str) -> None:
    async def work(given: int) -> None:
        context = TaskRunContext.get()
        assert context is not None
        assert Noting.seen == [(context.task_run.id, "Pending", {"given": 3})]

    noting = Noting(work)

    @flow
    async def calling() -> None:
        await noting.run({"given": 3})

    await calling()
    assert len(Noting.seen) == 1


@pytest.mark.server
async def test_events_of_a_task_run_are_those_of_prefects_engine(prefect_server: str) -> None:
    async def work(job: str) -> OpaqueResult:
        return OpaqueResult(None)

    async def fail(job: str) -> OpaqueResult:
        raise ValueError(job)

    def name(parameters: dict[str, Any]) -> str:
        return f"node {parameters['job']}"

    named: Any = name

    def made(function: Any) -> OpenTask:
        return OpenTask(function, name="generate", task_run_name=named, tags=["short"], retries=1)

    @flow
    async def both() -> tuple[list[dict[str, Any]], ...]:
        context = FlowRunContext.get()
        assert context is not None
        with context.model_copy(update={"result_store": Store(serializer=OpaqueResultSerializer())}), tags("whole"):
            prefects: Any = [made(work), made(fail)]
            before: Any = await prefects[0]("before", return_state=True)
            usual = [await task("a", wait_for=[before], return_state=True) for task in prefects]
            upstream = [before.state_details.task_run_id]
            lean = [await made(function).run({"job": quote("a")}, upstream) for function in (work, fail)]
        for worker in (EventsWorker.instance(), RunEventsWorker.instance()):
            await asyncio.to_thread(worker.wait_until_empty)
        sent = [event for client in AssertingEventsClient.all for event in client.events]
        return tuple(told(sent, states) for states in (usual, lean))

    EventsWorker.set_client_override(AssertingEventsClient)
    try:
        usual, lean = await both()
    finally:
        EventsWorker.set_client_override(None)
    assert len(lean) == 2 + 3
    assert lean == [event for event in usual if event["event"] != "prefect.task-run.Pending"]


def told(sent: list[Any], states: list[State[Any]]) -> list[dict[str, Any]]:
    """What the events about some task runs say, without ids and times, which differ from run to run."""
    ids = [str(state.state_details.task_run_id) for state in states]
    events = [json.loads(event.model_dump_json()) for event in sent]
    own = [event for id in ids for event in events if event["resource"]["prefect.resource.id"].endswith(id)]
    known = {event["id"]: event["event"] for event in own}
    for event in own:
        # After a task run, Prefect relates the events of the next one to it, too.
        event["related"] = [item for item in event["related"] if item["prefect.resource.role"] != "task-run"]
        if known.get(event["follows"]) == "prefect.task-run.Pending":
            event["follows"] = None
        event["follows"] = known.get(event["follows"])
    return json.loads(
        re.sub(
            r"[0-9a-f]{8}-[0-9a-f-]{27}|[0-9-]{10}T[0-9:.]+(Z|\+00:00)|(?<=: )[0-9.]+e?[0-9-]*", "0", json.dumps(own)
        )
    )


async def test_task_run_that_no_engine_executed_is_on_record_and_draws_an_edge(prefect_server: str) -> None:
    async def name_itself() -> str:
        return str(prefect.runtime.task_run.id)

    after = OpenTask(name_itself)

    @flow
    async def announcing() -> tuple[str, str]:
        context = FlowRunContext.get()
        assert context is not None
        assert context.flow_run is not None
        id, flow_run_id, held = uuid4(), context.flow_run.id, HeldEvents()
        state: State[None] = State(
            type=StateType.COMPLETED,
            name=CACHED,
            state_details=StateDetails(task_run_id=id, flow_run_id=flow_run_id),
        )
        task_run = TaskRun(
            id=id, name="by hand", flow_run_id=flow_run_id, task_key="by-hand", dynamic_key=str(id), state=state
        )
        held.hold(lambda: state_event(task_run, None, state, flow_run=context))
        held.send()
        return str(id), await (await after.run({}, [id])).aresult()

    by_hand, waiting = await announcing()
    async with get_client() as client:
        found = await recorded(client, by_hand)
        follower = await recorded(client, waiting)
    assert found.state is not None
    assert (found.name, found.state.name) == ("by hand", CACHED)
    assert [str(needed.id) for needed in follower.task_inputs["wait_for"] if isinstance(needed, TaskRunResult)] == [
        by_hand
    ]


async def test_held_events_are_sent_a_few_at_a_time_and_the_oldest_where_they_become_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[int] = []

    def hand_over(events: Any) -> None:
        sent.extend(event() for event in events)

    def maker(number: int) -> Any:
        return lambda: number

    monkeypatch.setattr(event_stream, "_hand_over", hand_over)
    monkeypatch.setattr(event_stream, "HELD_SECONDS", 0.0)
    held = HeldEvents()
    for number in range(event_stream.MOST_HELD + 2):
        held.hold(maker(number))
    assert sent == [0, 1]
    async with held.trickling(), asyncio.timeout(60):
        while len(sent) < 2 + event_stream.HELD_AT_ONCE:  # noqa: ASYNC110 - it has no event to wait for
            await asyncio.sleep(0)
    assert len(sent) % event_stream.HELD_AT_ONCE == 2
    held.send()
    assert sent == list(range(event_stream.MOST_HELD + 2))
    assert len(held) == 0


async def test_process_that_ends_gives_up_events_after_the_first_that_does_not_reach_the_server(
    prefect_server: str, caplog: pytest.LogCaptureFixture
) -> None:
    ending, tries = threading.Event(), list[str]()

    class LostServer(EventsClient):
        async def _emit(self, event: Event) -> None:
            tries.append(event.model_dump_json())
            assert await asyncio.to_thread(ending.wait, 60)
            raise ConnectionRefusedError("nobody listens any more")

    @flow
    async def telling() -> None:
        for number in range(5):
            send(event_of("vibe-prefect.test", {"prefect.resource.id": f"test.{number}"}, [], {}))

    EventsWorker.set_client_override(LostServer)
    try:
        await cast("Any", telling)()
        worker = RunEventsWorker.instance()
        drained = asyncio.create_task(asyncio.to_thread(worker.drain))
        async with asyncio.timeout(60):
            while RunEventsWorker.instance() is worker:  # noqa: ASYNC110 - until it is told to end, of which no event tells
                await asyncio.sleep(0.01)
            ending.set()
            await drained
    finally:
        EventsWorker.set_client_override(None)
    assert len(tries) == 1
    assert [record.getMessage() for record in caplog.records if record.name == event_stream.__name__] == [
        (
            "Events of runs did not reach the Prefect server, whose pages will lack what they tell (5): "
            "nobody listens any more"
        )
    ]


async def recorded(client: PrefectClient, id: str) -> TaskRun:
    """The task run, once the server's recorder has written its end."""
    async with asyncio.timeout(120):
        while True:
            with suppress(ObjectNotFound, PrefectHTTPStatusError):
                found = await client.read_task_run(UUID(id))
                if found.state is not None and found.state.is_completed():
                    return found
            await asyncio.sleep(0.1)


async def test_text_of_an_exception_is_found_in_the_message_of_the_state_that_it_ended() -> None:
    failed = await exception_to_failed_state(ValueError("no: such"), message="Task run encountered an exception")
    assert raised_text(failed.message or "") == "no: such"
    assert raised_text("The run was cancelled") == "The run was cancelled"


@pytest.mark.server
async def test_message_of_a_failed_task_run_holds_the_text_of_its_exception(prefect_server: str) -> None:
    async def fail() -> None:
        raise ValueError("no: such")

    failed: Any = task(fail)

    @flow
    async def failing() -> str:
        return (await failed(return_state=True)).message

    assert raised_text(await failing()) == "no: such"


@pytest.mark.server
async def test_routes_without_a_call_of_the_client_are_asked_once(prefect_server: str) -> None:
    async with get_client() as client:
        settings = await fetch_json(client, "/admin/settings", 60)
    assert settings["server"]["api"]["max_parameter_size"] > 0
    assert fetch_json_now(get_client(sync_client=True), "/admin/version") == prefect.__version__


@pytest.mark.server
async def test_deleting_once_says_what_the_server_answered(prefect_server: str) -> None:
    async with get_client() as client:
        id = (await client.create_artifact(ArtifactCreate(key="once", type="markdown", data="x"))).id
        path, answers = f"/artifacts/{id}", [503]
        while answers[-1] != 404:
            answers.append(await delete_once(client, path))
    assert [answer for answer in answers if answer != 503] == [204, 404], "503 where the database was busy"


@pytest.mark.server
async def test_client_that_is_cut_off_answers_no_more(prefect_server: str) -> None:
    async with get_client() as client:
        await cut_off(client)
        with pytest.raises(RuntimeError, match="closed"):
            await client.hello()


@pytest.mark.server
async def test_client_of_a_context_is_the_default(prefect_server: str) -> None:
    async with as_default(AsyncClientContext({"timeout": 7.0})) as context:
        assert get_client() is context.client


@pytest.mark.server
async def test_client_without_csrf_asks_for_no_token(prefect_server: str) -> None:
    async with get_client() as client:
        http = client._client  # pyright: ignore[reportPrivateUsage]
        assert http.enable_csrf_support
        skip_csrf(client)
        assert not http.enable_csrf_support


def test_console_handlers_are_told_from_others() -> None:
    assert is_console_handler(PrefectConsoleHandler())
    assert not is_console_handler(logging.NullHandler())


def test_times_of_a_cron_expression_are_prefects() -> None:
    begin = datetime(2026, 1, 31, 12)  # noqa: DTZ001 - the zone is the caller's
    times = cron_times("0 6 L * *", begin)
    assert [next(times).isoformat() for _ in range(2)] == ["2026-02-28T06:00:00", "2026-03-31T06:00:00"]
    assert list(cron_times("0 0 30 2 *", begin)) == []


def test_versions_that_nobody_tried_are_told() -> None:
    assert untried_version() is None
    assert untried_version(f"{TRIED[-1]}.7") is None
    assert untried_version("4.0.1") == (
        "Prefect 4.0.1 is new to vibe-prefect, which was tried with 3.8 and 3.9: some things may fail"
    )


def test_flow_makes_the_schema_of_its_parameters_when_asked() -> None:
    assert "parameters" not in vars(LateSchemaFlow(_typed, name="late"))
    late, usual = LateSchemaFlow(_typed, name="same"), Flow(_typed, name="same")
    assert late.parameters == usual.parameters == parameter_schema(late)
    assert list(late.parameters.properties) == ["count", "name"]
    state = ("fn", "version", "description", "isasync", "isgenerator", "_entrypoint", "__wrapped__", "__name__")
    assert {name: getattr(late, name) for name in state} == {name: getattr(usual, name) for name in state}


async def _typed(count: int, name: str = "a") -> int:
    """Count something."""
    return count
