"""Approvals: what a person is asked about, and the answers, which hold for the content that was shown alone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from vibe_prefect.core.edited_output import EditError, editable_text
from vibe_prefect.core.outputs import OutputFile, output_files, preview_of
from vibe_prefect.errors import RunError
from vibe_prefect.provenance import RunLabel

WAITING = "waiting"
"""Key of a question in the feedback about a node that waits for its answer."""

MAX_SHOWN = 20_000
"""Characters of one item that a question keeps for the person who answers."""

BY_TIMEOUT = "timeout"
"""Name under which a question is answered that nobody has answered in time."""

OnTimeout = Literal["approve", "reject"]
"""The answer that counts when nobody has given one in time."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A person's answer about one item."""

    approved: bool
    """Whether the item was approved; it was rejected otherwise."""

    by: str
    """Name of the person; `BY_TIMEOUT` where nobody answered in time."""

    at: str
    """Time of the answer, ISO 8601."""

    sha256: str
    """Hash of the item's content, hexadecimal: the answer holds for that content alone."""

    because: str = ""
    """The person's comment; empty where there is none."""

    run_id: str = ""
    """Id of the run that had asked."""

    text: str | None = None
    """Text in place of the item's own, as the person has edited it; `None` where it stays as it was."""

    @property
    def line(self) -> str:
        """The answer in one line, such as `approved by Ann Lee at 2026-03-04T05:06:07+00:00: fits`."""
        verb = "approved" if self.approved else "rejected"
        edited = ", with an edited text" if self.text is not None else ""
        return f"{verb} by {self.by} at {self.at}{edited}{f': {self.because}' if self.because else ''}"


@dataclass(frozen=True, slots=True)
class ShownItem:
    """One thing that a person is asked about: the output of a dependency."""

    sha256: str
    """Hash of the output, hexadecimal."""

    text: str | None
    """The output as text, cut; `None` where there is nothing to read."""

    files: tuple[OutputFile, ...] = ()
    """The files that it names."""

    editable: bool = False
    """Whether the text is all of the output, so that an edited one may take its place."""

    @classmethod
    def of(cls, output: Any, content: bytes) -> ShownItem:
        """Show an output.

        Args:
            output: JSON data.
            content: The same as `jsonable` writes it.
        """
        text = preview_of(output, MAX_SHOWN)
        try:
            editable = editable_text(output) == text
        except EditError:
            editable = False
        return cls(hashlib.sha256(content).hexdigest(), text, output_files(output), editable)


@dataclass(frozen=True, slots=True)
class Question:
    """A question to a person about what a node's dependencies made, with the answers so far."""

    node_id: str
    """Id of the node that asks."""

    key: str
    """Its content key."""

    text: str
    """The question itself."""

    items: Mapping[str, ShownItem]
    """The items, by the ids of the dependencies that made them."""

    asked_at: str = ""
    """Time of the question, ISO 8601."""

    until: str | None = None
    """Time at which the default answer counts, ISO 8601; `None` for a question that waits for as long as it takes."""

    on_timeout: OnTimeout = "reject"
    """The default answer."""

    run_id: str = ""
    """Id of the run that asks."""

    run_name: str = ""
    """Name of that run."""

    answers: Mapping[str, Answer] = field(default_factory=dict[str, Answer])
    """The answers so far, by item."""

    @property
    def open_items(self) -> Mapping[str, ShownItem]:
        """The items without an answer about their present content."""
        return {id: item for id, item in self.items.items() if not self._is_answered(id, item)}

    def _is_answered(self, id: str, item: ShownItem) -> bool:
        return id in self.answers and self.answers[id].sha256 == item.sha256

    def with_answers(self, answers: Mapping[str, Answer]) -> Question:
        """Return it with further answers, each in place of an earlier one about the same item."""
        return replace(self, answers={**self.answers, **answers})

    def shows_the_same(self, other: Question) -> bool:
        """Return whether another question is about the same content."""
        mine, others = ({id: item.sha256 for id, item in one.items.items()} for one in (self, other))
        return mine == others

    def asked_by(self, run: RunLabel, hours: float | None) -> Question:
        """Return it as asked now by a run.

        Args:
            run: The run.
            hours: Hours until the default answer counts; `None` for no end.
        """
        now = datetime.now(UTC)
        until = None if hours is None else (now + timedelta(hours=hours)).isoformat(timespec="seconds")
        asked_at = now.isoformat(timespec="seconds")
        return replace(self, asked_at=asked_at, until=until, run_id=run.run_id, run_name=run.run_name)

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the default answer counts, 0 afterwards; `None` for a question without an end."""
        if self.until is None:
            return None
        return max(0.0, (datetime.fromisoformat(self.until) - datetime.now(UTC)).total_seconds())

    def default_answers(self) -> dict[str, Answer]:
        """Return the default answer about each open item."""
        hours = f"no answer until {self.until}"
        return self.answered(approved=self.on_timeout == "approve", by=BY_TIMEOUT, because=hours)

    def answered(
        self, *, approved: bool, by: str, because: str = "", text: str | None = None, item: str | None = None
    ) -> dict[str, Answer]:
        """Return an answer about one open item, or the same about all of them.

        Args:
            approved: Whether they are approved.
            by: Name of the person.
            because: The person's comment.
            text: Edited text in place of the item's own.
            item: The item; `None` for all that are open.
        """
        at = datetime.now(UTC).isoformat(timespec="seconds")
        return {
            id: Answer(approved, by, at, shown.sha256, because, self.run_id, text)
            for id, shown in self.open_items.items()
            if item in (None, id)
        }


class AnswerAwaitedError(RunError):
    """A node that cannot go on before a person has answered its question; this is no failure."""

    def __init__(self, question: Question) -> None:
        """Name the question.

        Args:
            question: The question, as it is kept for the person who answers.
        """
        self.question = question
        super().__init__(f"waits for an answer about {', '.join(question.open_items)}: {question.text}")

    def __reduce__(self) -> tuple[type[AnswerAwaitedError], tuple[Question]]:
        return type(self), (self.question,)


def question_in(feedback: Mapping[str, Any]) -> Question | None:
    """Read the question in a node's feedback; `None` for a node that waits for no answer.

    Args:
        feedback: The feedback.
    """
    if WAITING not in feedback:
        return None
    try:
        return _questions().validate_python(feedback[WAITING])
    except ValidationError:
        return None


def questions_in(feedback: Mapping[str, Mapping[str, Any]]) -> tuple[Question, ...]:
    """Read the questions in the feedback of a run, by the ids of its nodes."""
    questions = (question_in(of_node) for of_node in feedback.values())
    return tuple(question for question in questions if question is not None)


@cache
def _questions() -> TypeAdapter[Question]:
    return TypeAdapter(Question)
