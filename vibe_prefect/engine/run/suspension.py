"""Suspension of a deployed run that waits for answers: no worker is held, and a form in Prefect's UI takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, cast

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.context import FlowRunContext
from prefect.flow_runs import asuspend_flow_run
from prefect.input import RunInput
from prefect.states import Scheduled
from pydantic import ConfigDict, Field, create_model

from vibe_prefect.core.approval import Answer, Question, ShownItem
from vibe_prefect.engine.records.questions import read_question, write_question
from vibe_prefect.engine.records.records import Records
from vibe_prefect.tools.secrecy.known import scrubbed

UNNAMED = "somebody in Prefect's UI"
"""Name of a person who answered in the form without a name."""

ASKED = "vibe_prefect"
"""Key in the form's schema that says which of its fields answers which question."""

_NAME = "approval-"
"""Prefix of the name under which Prefect knows a suspension; its number follows."""

_KEY = f"suspended-{_NAME}"
"""Prefix of the keys under which Prefect keeps the form of a suspended run and what was filled in."""

DEFAULT_TAG = "vibe-prefect-default-answer:"
"""Prefix of the tag of a run that is scheduled for the time when the default answer to another run counts."""

MAX_KEPT = 200
"""Values of forms of one run that are read."""

MAX_LINE = 2_000
"""Characters of a comment or a name in the form that are kept."""

Decision = Literal["later", "approve", "reject"]


@dataclass(frozen=True, slots=True)
class _Field:
    """The fields of the form about one item."""

    question: Question
    item: str
    number: int

    @property
    def shown(self) -> ShownItem:
        """The item."""
        return self.question.items[self.item]

    def fields(self) -> dict[str, Any]:
        """Return the definitions of the fields, by name."""
        title = f"{self.question.node_id}: {self.item}"
        decision = Field("later", title=f"Decision about {title}", description=self.question.text)
        comment = Field("", title=f"Comment on {title}", description="Kept with the answer; optional.")
        fields: dict[str, Any] = {f"decision_{self.number}": (Decision, decision)}
        if self.shown.editable:
            about = "Takes the place of the text where it is approved; leave it as it is to change nothing."
            text = Field(self.shown.text or "", title=f"Text of {title}", description=about)
            fields[f"text_{self.number}"] = (str, text)
        return fields | {f"comment_{self.number}": (str, comment)}

    def to_dict(self) -> dict[str, Any]:
        """Return what tells from the form's schema alone which question these fields answer."""
        return {"node_id": self.question.node_id, "item": self.item, "number": self.number, "sha256": self.shown.sha256}


def approval_form(questions: Sequence[Question]) -> type[RunInput]:
    """Return the form of a suspended run, with a decision, a text to edit and a comment for each open item.

    Args:
        questions: The questions of the run.
    """
    items = [(question, item) for question in questions for item in question.open_items]
    form = [_Field(question, item, number) for number, (question, item) in enumerate(items, 1)]
    fields: dict[str, Any] = {name: field for one in form for name, field in one.fields().items()}
    fields["by"] = (str, Field("", title="Your name", description="Kept with the answer."))
    extra = {ASKED: [one.to_dict() for one in form]}
    config = ConfigDict(extra="forbid", json_schema_extra=cast("Any", extra))
    base = type("ApprovalForm", (RunInput,), {"model_config": config, "__module__": __name__})
    return create_model("ApprovalForm", __base__=base, **fields)


async def suspend(questions: Sequence[Question]) -> None:
    """Suspend the current run where there are questions: it ends here, and is run again once they are answered.

    Args:
        questions: The questions of the run; nothing happens without any.

    Raises:
        Pause: Prefect has suspended the run.
    """
    if not questions:
        return
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    key = f"{_NAME}{suspensions(context.flow_run) + 1}"
    await _schedule_default(cast("PrefectClient", context.client), context.flow_run, questions, key)
    await asuspend_flow_run(wait_for_input=approval_form(questions), key=key)


async def _schedule_default(client: PrefectClient, flow_run: FlowRun, questions: Sequence[Question], key: str) -> None:
    """Schedule a run that resumes a suspended one when the first default answer counts, unless it was answered."""
    ends = [question.until for question in questions if question.until is not None]
    if not ends or flow_run.deployment_id is None:
        return
    await client.create_flow_run_from_deployment(
        flow_run.deployment_id,
        parameters={**flow_run.parameters, "resume_from": str(flow_run.id)},
        state=Scheduled(scheduled_time=datetime.fromisoformat(min(ends))),
        idempotency_key=f"{flow_run.id}-{key}",
        tags=[f"{DEFAULT_TAG}{flow_run.id}"],
    )


async def _forget_default(client: PrefectClient, flow_run: FlowRun) -> None:
    """Delete the scheduled runs of default answers to a run that goes on."""
    tags = FlowRunFilterTags(all_=[f"{DEFAULT_TAG}{flow_run.id}"])
    state = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED]))
    for scheduled in await client.read_flow_runs(flow_run_filter=FlowRunFilter(tags=tags, state=state)):
        await client.delete_flow_run(scheduled.id)


def suspensions(flow_run: FlowRun) -> int:
    """Return how often a run was suspended; Prefect counts no further try for it.

    Args:
        flow_run: The run, as it was when its process began.
    """
    return sum(key.startswith(_NAME) for key in flow_run.empirical_policy.pause_keys or ())


async def take_answers(client: PrefectClient, flow_run: FlowRun, records: Records) -> None:
    """Keep what was filled in the form of a run that was suspended, beside the questions.

    Args:
        client: The server's client.
        flow_run: The run, which is run again.
        records: Its records.
    """
    count = suspensions(flow_run)
    if not count:
        return
    await _forget_default(client, flow_run)
    kept = await client.filter_flow_run_input(flow_run.id, key_prefix=_KEY, limit=MAX_KEPT, exclude_keys=set())
    values: dict[str, dict[str, Any]] = {entry.key: entry.decoded_value or {} for entry in kept}
    for number in range(1, count + 1):  # a try that broke off may not have taken the answers before it
        filled, schema = (values.get(f"{_KEY}{number}-{part}", {}) for part in ("response", "schema"))
        for facts in cast("list[dict[str, Any]]", schema.get(ASKED, [])):
            await _take(records, filled, facts, flow_run)


async def _take(records: Records, filled: Mapping[str, Any], facts: Mapping[str, Any], flow_run: FlowRun) -> None:
    """Keep the answer in a form about one item, where it is still open."""
    question = await read_question(records, facts["node_id"])
    shown = question.open_items.get(facts["item"]) if question is not None else None
    answer = _answer(filled, facts, shown, flow_run) if shown is not None else None
    if question is not None and answer is not None:
        await write_question(records, question.with_answers({facts["item"]: answer}))


def _answer(filled: Mapping[str, Any], facts: Mapping[str, Any], shown: ShownItem, flow_run: FlowRun) -> Answer | None:
    """Return the answer in a form about one item; `None` where the decision was put off."""
    number = facts["number"]
    decision, text = filled.get(f"decision_{number}", "later"), filled.get(f"text_{number}")
    if decision == "later":
        return None
    return Answer(
        approved=decision == "approve",
        by=_line(filled.get("by")) or UNNAMED,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        sha256=facts["sha256"],
        because=_line(filled.get(f"comment_{number}")),
        run_id=str(flow_run.id),
        text=None if text is None or _plain(text) == _plain(shown.text or "") else scrubbed(text),
    )


def _line(text: object) -> str:
    """Return a text on one line, without secrets."""
    return scrubbed(" ".join(str(text or "").split()))[:MAX_LINE]


def _plain(text: str) -> str:
    """Return a text with the line ends that a browser's form may have changed made alike."""
    return text.replace("\r\n", "\n").strip()
