"""Files beside records by which a run and its child runs tell each other what no parameter can hold."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from vibe_prefect.core.budget import Spending
from vibe_prefect.engine.prefect_seam.storage import write_block
from vibe_prefect.engine.records.records import Records

_KEYS = TypeAdapter(dict[str, str])
_SPENDING = TypeAdapter(Spending)


def _keys_path(records: Records, run_id: str) -> str:
    return f"{records.namespace}/keys-{run_id}.json"


def _spending_path(records: Records, run_id: str) -> str:
    return f"{records.namespace}/spending-{run_id}.json"


async def write_keys(records: Records, run_id: str, keys: Mapping[str, str]) -> None:
    """Keep the content keys of a run's plan, for its child runs.

    Args:
        records: Records of the run.
        run_id: Id of its flow run.
        keys: Key of each node as the plan has it, by id.

    Raises:
        Exception: The storage refuses it; each kind of storage has its own error.
    """
    await write_block(records.store.result_storage, _keys_path(records, run_id), to_json(keys))


async def read_keys(records: Records, run_id: str) -> Mapping[str, str]:
    """Return the content keys of the plan of a run with child runs, by node id; empty where there are none.

    Raises:
        RecordStorageError: The storage does not answer.
    """
    content = await records.store.content(_keys_path(records, run_id))
    try:
        return _KEYS.validate_json(content) if content is not None else {}
    except ValidationError:
        return {}


async def write_spending(records: Records, run_id: str, spending: Spending) -> None:
    """Keep what a child run has spent, with what its calls under way may cost.

    Raises:
        Exception: The storage refuses it; each kind of storage has its own error.
    """
    await write_block(records.store.result_storage, _spending_path(records, run_id), _SPENDING.dump_json(spending))


async def read_spending(records: Records, run_id: str) -> Spending:
    """Return what a child run has spent at most; nothing where it has noted nothing.

    Raises:
        RecordStorageError: The storage does not answer.
        ValidationError: The file holds something else.
    """
    content = await records.store.content(_spending_path(records, run_id))
    return Spending() if content is None else _SPENDING.validate_json(content)
