"""Asking of people within a run: answers given before count; else the person at the terminal is asked, or it waits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from vibe_prefect.core.approval import Answer, AnswerAwaitedError, Question
from vibe_prefect.engine.records.questions import read_question, write_question
from vibe_prefect.engine.records.records import Records
from vibe_prefect.provenance import RunLabel
from vibe_prefect.tools.waits import paused_clock

Prompt = Callable[[Question], Awaitable[Mapping[str, Answer]]]
"""Asks the person at the terminal about the open items; returns the answers, none where the person puts them off."""


@dataclass(frozen=True)
class Asking:
    """Asks the questions of one node in one run."""

    records: Records
    """Records of the run, beside which questions and answers are kept."""

    run: RunLabel
    """The run that asks."""

    refreshes: bool = False
    """Whether the node is refreshed, so that answers to earlier runs do not count."""

    prompt: Prompt | None = None
    """Asks at the terminal; `None` where nobody sits there."""

    async def __call__(self, question: Question, hours: float | None) -> Mapping[str, Answer]:
        """Return the answer about each item; see `AskPerson`.

        Raises:
            AnswerAwaitedError: Nobody has answered yet.
        """
        asked = await self._asked(question, hours)
        if asked.open_items:
            await write_question(self.records, asked)
            asked = await self._answered(asked)
            await write_question(self.records, asked)
        if asked.open_items:
            raise AnswerAwaitedError(asked)
        return asked.answers

    async def _asked(self, question: Question, hours: float | None) -> Question:
        """Return the question with the answers that count, and since when it is asked."""
        before = await read_question(self.records, question.node_id)
        if before is None or before.key != question.key:
            return question.asked_by(self.run, hours)
        mine = before.run_id == self.run.run_id
        answers = {id: answer for id, answer in before.answers.items() if self._counts(answer)}
        if before.shows_the_same(question) and (mine or not self.refreshes):
            return replace(before, run_id=self.run.run_id, run_name=self.run.run_name, answers=answers)
        return question.asked_by(self.run, hours).with_answers(answers)

    def _counts(self, answer: Answer) -> bool:
        return not self.refreshes or answer.run_id == self.run.run_id

    async def _answered(self, asked: Question) -> Question:
        if asked.seconds_left == 0:
            return asked.with_answers(asked.default_answers())
        if self.prompt is None:
            return asked
        with paused_clock():
            return asked.with_answers(await self.prompt(asked))
