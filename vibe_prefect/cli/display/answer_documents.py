"""Documents of the commands with which a person answers: `approvals`, `approve`, `reject`, `accept` and `edit`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from vibe_prefect.cli.display.document import Document, Part
from vibe_prefect.core.acceptance import Acceptance
from vibe_prefect.core.approval import Answer, OnTimeout, ShownItem
from vibe_prefect.provenance import Edit
from vibe_prefect.reporting.next_steps import approve_command, reject_command

if TYPE_CHECKING:
    from vibe_prefect.operations import AcceptedNode, AnsweredNode, EditedNode, WaitingNode


class OpenQuestion(Part):
    """A node that waits for a person's answer."""

    run_name: str
    run_id: str
    node_id: str
    question: str
    asked_at: str
    until: str | None
    """Time at which the default answer counts; `null` for a question that waits for as long as it takes."""

    on_timeout: OnTimeout
    """The default answer."""

    suspended: bool
    """Whether the run goes on by itself once everything is answered; else it has to be resumed."""

    items: dict[str, ShownItem]
    """The items without an answer, by the ids of the nodes that made them."""

    answers: dict[str, Answer]
    """The answers so far, by item."""

    approve_command: str
    reject_command: str

    @classmethod
    def of(cls, waiting: WaitingNode) -> OpenQuestion:
        """Describe a node that waits."""
        question = waiting.question
        return cls(
            run_name=waiting.run_name,
            run_id=question.run_id,
            node_id=question.node_id,
            question=question.text,
            asked_at=question.asked_at,
            until=question.until,
            on_timeout=question.on_timeout,
            suspended=waiting.suspended,
            items=dict(question.open_items),
            answers=dict(question.answers),
            approve_command=approve_command(waiting.run_name, question.node_id),
            reject_command=reject_command(waiting.run_name, question.node_id),
        )


class ApprovalsDocument(Document):
    """`approvals`: the nodes that wait for an answer."""

    kind: Literal["approvals"] = "approvals"
    approvals: list[OpenQuestion]
    """Those of the newest runs first."""


class AnswerDocument(Document):
    """`approve` and `reject`: the answers that were given."""

    kind: Literal["answer"] = "answer"
    run_name: str
    run_id: str
    node_id: str
    answers: dict[str, Answer]
    """The answers that were given now, by item."""

    open_items: list[str]
    """The items that are still to be answered."""

    goes_on: bool
    """Whether the run was woken up."""

    resume_command: str | None
    """Command that runs what depends on the node; `null` where the run goes on, or waits for more answers."""

    @classmethod
    def of(cls, answered: AnsweredNode) -> AnswerDocument:
        """Describe a node that was answered."""
        question = answered.question
        waits = bool(question.open_items) or answered.goes_on
        return cls(
            run_name=answered.run_name,
            run_id=question.run_id,
            node_id=question.node_id,
            answers=answered.answers,
            open_items=list(question.open_items),
            goes_on=answered.goes_on,
            resume_command=None if waits else answered.resume_command,
        )


class AcceptanceDocument(Document):
    """`accept`: a gate whose refusal was overridden."""

    kind: Literal["acceptance"] = "acceptance"
    run_name: str
    node_id: str
    verdict: str
    acceptance: Acceptance
    resume_command: str

    @classmethod
    def of(cls, accepted: AcceptedNode) -> AcceptanceDocument:
        """Describe a gate that was accepted."""
        return cls(
            run_name=accepted.run_name,
            node_id=accepted.node_id,
            verdict=accepted.verdict,
            acceptance=accepted.acceptance,
            resume_command=accepted.resume_command,
        )


class EditDocument(Document):
    """`edit`: a node whose output was edited."""

    kind: Literal["edit"] = "edit"
    run_name: str
    node_id: str
    edit: Edit | None
    """`null` where the text came back as it was, and nothing was changed."""

    dependents: list[str]
    """Nodes that a resume runs again with the edited output."""

    resume_command: str

    @classmethod
    def of(cls, edited: EditedNode) -> EditDocument:
        """Describe a node that was edited."""
        return cls(
            run_name=edited.run_name,
            node_id=edited.node_id,
            edit=edited.edit,
            dependents=list(edited.dependents),
            resume_command=edited.resume_command,
        )
