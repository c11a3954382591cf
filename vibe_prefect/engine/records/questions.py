"""Questions to people, kept beside the records with their answers; each node has at most one, the newest."""

from __future__ import annotations

from pydantic import TypeAdapter, ValidationError

from vibe_prefect.core.approval import Question
from vibe_prefect.engine.records.records import Records
from vibe_prefect.errors import UsageError

ENDING = ".question.json"
"""End of the name of a question's file, after the node's id."""

_QUESTIONS = TypeAdapter(Question)


async def write_question(records: Records, question: Question) -> None:
    """Keep a question in place of an earlier one of the same node.

    Raises:
        Exception: The storage refuses it; each kind of storage has its own error.
    """
    await records.write_beside(question.node_id, ENDING, _QUESTIONS.dump_json(question))


async def read_question(records: Records, node_id: str) -> Question | None:
    """Return the newest question of a node; `None` where there is none.

    Raises:
        UsageError: The file does not hold a question.
        RecordStorageError: The storage does not answer.
    """
    content = await records.read_beside(node_id, ENDING)
    if content is None:
        return None
    try:
        return _QUESTIONS.validate_json(content)
    except ValidationError as error:
        path = records.path_beside(node_id, ENDING)
        raise UsageError(
            f"the question {path} is damaged ({error.error_count()} problems): delete it, and the next run asks again"
        ) from None
