"""Answers to what nodes ask: a person approves, edits or rejects what was made, and the run goes on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateName

from vibe_prefect.core.approval import Answer, Question
from vibe_prefect.core.edited_output import EditError, with_text
from vibe_prefect.engine.listing import plan_runs
from vibe_prefect.engine.node_states import WAITS
from vibe_prefect.engine.past_run import PastRun
from vibe_prefect.engine.publish.events import announce_answer
from vibe_prefect.engine.records.questions import read_question, write_question
from vibe_prefect.engine.records.records import Records
from vibe_prefect.engine.records.storage import RecordStore, open_store
from vibe_prefect.engine.runs.load_report import left_report, load_run
from vibe_prefect.engine.runs.recorded_lists import unfold_recorded
from vibe_prefect.engine.runs.resume_target import refuse_claimed, with_root
from vibe_prefect.errors import UsageError, did_you_mean, shorten
from vibe_prefect.operations._people import MAX_REASON, one_line, person_name
from vibe_prefect.reporting.next_steps import approve_command
from vibe_prefect.results import resume_command
from vibe_prefect.run.handlers import output_of
from vibe_prefect.settings.package import load_settings
from vibe_prefect.tools.secrecy.known import scrubbed

MAX_WAITING = 200
"""Waiting runs that are looked through."""

SUSPENDED = "Suspended"
"""Prefect's name of the state of a suspended run."""


@dataclass(frozen=True)
class WaitingNode:
    """A node that waits for a person's answer."""

    run_name: str
    """Name of the run."""

    question: Question
    """The question, with the answers so far."""

    suspended: bool
    """Whether the run goes on by itself once everything is answered; else it has to be resumed."""


@dataclass(frozen=True)
class AnsweredNode:
    """A node whose question a person has answered."""

    run_name: str
    """Name of the run."""

    question: Question
    """The question with all answers so far."""

    answers: dict[str, Answer]
    """The answers that were given now, by item."""

    goes_on: bool
    """Whether the run was woken up, since nothing is left to answer."""

    @property
    def resume_command(self) -> str:
        """Command that runs what depends on the node."""
        return resume_command(self.run_name)


async def approvals(*, storage: str | Path | None = None) -> list[WaitingNode]:
    """Return the nodes that wait for a person's answer, those of the newest runs first.

    Args:
        storage: Where records are kept; see `list_runs`.
    """
    store = await open_store(storage)
    named = FlowRunFilterStateName(any_=[WAITS, SUSPENDED, "Failed"])
    which = FlowRunFilter(state=FlowRunFilterState(name=named))
    waiting: list[WaitingNode] = []
    async with get_client() as client:
        async for run in plan_runs(client, which, limit=MAX_WAITING):
            for question in await _open_questions(client, run, store):
                waiting.append(WaitingNode(run.name, question, run.suspended))  # noqa: PERF401
    return waiting


async def approve(  # noqa: PLR0913 - options by keyword
    run: str,
    node: str,
    *,
    item: str | None = None,
    comment: str = "",
    text: str | None = None,
    by: str | None = None,
    storage: str | Path | None = None,
) -> AnsweredNode:
    """Approve what a node asks about; a deployed run goes on, any other can be resumed.

    The answer holds for what was shown. Where the node would show something else, it asks again.

    Args:
        run: Name or id of the run that asks.
        node: Id of the node.
        item: The dependency whose output is approved; `None` for all that are open.
        comment: Kept with the answer.
        text: Edited text in place of the item's own.
        by: Name of the person who approves; by default the login name.
        storage: Where records are kept; see `list_runs`.

    Raises:
        UnknownRunError: The Prefect server does not know the run.
        RunInUseError: A run that uses the same records is not over.
        UsageError: The node asks nothing, or not about the item; or the edited text does not fit.
    """
    words = one_line(comment, "--comment", MAX_REASON) if comment.strip() else ""
    answer = _Given(person_name(by), words, item, approved=True, text=None if text is None else scrubbed(text))
    return await _answer(run, node, answer, storage)


async def reject(  # noqa: PLR0913 - options by keyword
    run: str,
    node: str,
    because: str,
    *,
    item: str | None = None,
    by: str | None = None,
    storage: str | Path | None = None,
) -> AnsweredNode:
    """Reject what a node asks about: it is then a gate that refused. See `approve`.

    Args:
        run: Name or id of the run that asks.
        node: Id of the node.
        because: The reason, kept with the answer.
        item: The dependency whose output is rejected; `None` for all that are open.
        by: Name of the person who rejects; by default the login name.
        storage: Where records are kept; see `list_runs`.

    Raises:
        UnknownRunError: The Prefect server does not know the run.
        RunInUseError: A run that uses the same records is not over.
        UsageError: The node asks nothing, or not about the item; or there is no reason.
    """
    answer = _Given(person_name(by), one_line(because, "--because", MAX_REASON), item, approved=False)
    return await _answer(run, node, answer, storage)


@dataclass(frozen=True)
class _Given:
    """An answer as it was given."""

    by: str
    because: str
    item: str | None
    approved: bool
    text: str | None = None


async def _answer(reference: str, node: str, given: _Given, storage: str | Path | None) -> AnsweredNode:
    store = await open_store(storage)
    async with get_client() as client:
        run = await load_run(client, reference, store)
        records = Records(store, run.record_namespace)
        await _question(client, run, records, node, given.item)
        with records.hold() as alone:
            if not alone:
                await refuse_claimed(client, records.namespace, by=run.id)
            question = await _question(client, run, records, node, given.item)
            await _check_text(run, records, question, given)
            answers = question.answered(
                approved=given.approved, by=given.by, because=given.because, text=given.text, item=given.item
            )
            question = question.with_answers(answers)
            await write_question(records, question)
        goes_on = await _wake(client, run, store)
        if load_settings().events:
            announce_answer(run, question, answers)
    return AnsweredNode(run.name, question, answers, goes_on)


async def _wake(client: PrefectClient, run: PastRun, store: RecordStore) -> bool:
    """Have a suspended run go on where nothing is left to answer; returns whether it does."""
    if not run.suspended or await _open_questions(client, run, store):
        return False
    await client.resume_flow_run(run.id, run_input={})
    return True


async def _open_questions(client: PrefectClient, run: PastRun, store: RecordStore) -> list[Question]:
    """Return the questions of a run that are not answered, and that no later run has asked again."""
    try:
        run = run if run.root_id is not None else await with_root(client, run)
    except UsageError:  # a run that it resumes was deleted
        return []
    records = Records(store, run.record_namespace)
    report = await left_report(run, store)
    questions = [await read_question(records, question.node_id) for question in (report.questions if report else ())]
    return [question for question in questions if question and question.run_id == str(run.id) and question.open_items]


async def _question(client: PrefectClient, run: PastRun, records: Records, node: str, item: str | None) -> Question:
    """Return the question to answer.

    Raises:
        UsageError: There is none.
    """
    known = (await unfold_recorded(run.compiled, records)).compiled().nodes
    if node not in known:
        raise UsageError(f"the run {run.name!r} has no node {shorten(node)}{did_you_mean(node, known)}")
    question = await read_question(records, known[node].record_id)
    if question is None:
        waiting = ", ".join(repr(one.node_id) for one in await _open_questions(client, run, records.store))
        remedy = f"; its nodes that do: {waiting}" if waiting else "; 'vibe-prefect approvals' lists what waits"
        elsewhere = "; if its records lie elsewhere, answer in Prefect's UI" if run.suspended else ""
        raise UsageError(f"the node {node!r} of the run {run.name!r} asks nothing{remedy}{elsewhere}")
    if question.run_id != str(run.id):
        raise UsageError(
            f"the newest question of {node!r} is not by the run {run.name!r}, but by {question.run_name!r}; answer it "
            f"there: {approve_command(question.run_name, node)}"
        )
    if not question.open_items:
        lines = "; ".join(f"{id!r} was {answer.line}" for id, answer in question.answers.items())
        raise UsageError(f"{node!r} is answered already: {lines}; to go on: {resume_command(run.name)}")
    if item is not None and item not in question.open_items:
        raise UsageError(
            f"{node!r} asks nothing about {shorten(item)}{did_you_mean(item, question.open_items)}; it asks about "
            f"{', '.join(question.open_items)}"
        )
    return question


async def _check_text(run: PastRun, records: Records, question: Question, given: _Given) -> None:
    """Refuse an edited text that cannot take the place of the item's own."""
    if given.text is None:
        return
    items = list(question.open_items) if given.item is None else [given.item]
    if len(items) > 1:
        raise UsageError(f"an edited text is for one item: name it with --item, one of {', '.join(items)}")
    shown = question.items[items[0]]
    if not shown.editable:
        raise UsageError(f"the output of {items[0]!r} cannot be edited here: only whole texts and data can be")
    output = await _shown_output(run, records, items[0])
    try:
        with_text("" if output is None else output, given.text)
    except EditError as error:
        raise UsageError(f"the output of {items[0]!r}: {error}") from None


async def _shown_output(run: PastRun, records: Records, item: str) -> Any:
    """Return the output that an item shows: of a node, or of an item of a list; none where it is not on record."""
    nodes = (await unfold_recorded(run.compiled, records)).compiled().nodes
    composite, _, name = item.rpartition(".")
    node = nodes.get(item) or nodes.get(composite)
    record = None if node is None else await records.read(node.record_id, node.key)
    if record is None:
        return None
    if item in nodes:
        return output_of(record["result"])
    names: list[str] = record["result"]["items"]
    return output_of(record["result"])[names.index(name)] if name in names else None
