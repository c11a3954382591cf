"""Questions to people, kept beside the records with their answers; each node has at most one, the newest."""

from __future__ import annotations

from pydantic import TypeAdapter, ValidationError

from vibe_prefect.core.approval import Question
from vibe_prefect.engine.prefect_seam import write_block
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
    await write_block(records.store.result_storage, _path(records, question.node_id), _QUESTIONS.dump_json(question))


async def read_question(records: Records, node_id: str) -> Question | None:
    """Return the newest question of a node; `None` where there is none.

    Raises:
        UsageError: The file does not hold a question.
        RecordStorageError: The storage does not answer.
    """
    path = _path(records, node_id)
    content = await records.store.content(path)
    if content is None:
        return None
    try:
        return _QUESTIONS.validate_json(content)
    except ValidationError as error:
        raise UsageError(
            f"the question {path} is damaged ({error.error_count()} problems): delete it, and the next run asks again"
        ) from None


def _path(records: Records, node_id: str) -> str:
    return f"{records.namespace}/{node_id}{ENDING}"
