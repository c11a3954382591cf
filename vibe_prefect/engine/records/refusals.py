"""Refusals: the results that gates withheld, kept beside the records, so that a person may accept one.

Each node has at most one in a record namespace, the newest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from vibe_prefect.core.acceptance import ACCEPTED, Acceptance, acceptance_in
from vibe_prefect.engine.records.records import Records
from vibe_prefect.engine.records.storage import NodeRecord, OpaqueResultSerializer
from vibe_prefect.errors import UsageError

ENDING = ".refused.json"
"""End of the name of a refusal's file, after the node's id. The name of a record ends with a key."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A gate's refusal, with all that it takes to accept it."""

    node_id: str
    """Id under which the gate's record is kept; see `CompiledNode.record_id`."""

    key: str
    """Its content key."""

    run_id: str
    """Id of the run in which it refused."""

    run_name: str
    """Name of that run."""

    error: str
    """The gate's verdict, as the run reported it."""

    record: dict[str, Any]
    """Record that the gate would have, had it passed."""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Metadata of the result: the measured quality, the evidence, and the acceptance once there is one."""
        metadata: Any = self.record["result"]["metadata"]
        return cast("Mapping[str, Any]", metadata)

    @property
    def acceptance(self) -> Acceptance | None:
        """The acceptance; `None` as long as nobody has accepted it."""
        return acceptance_in(self.metadata)

    def accepted(self, acceptance: Acceptance) -> Refusal:
        """Return it with an acceptance in its record."""
        line = f"accepted by {acceptance.by} at {acceptance.at}: {acceptance.because}"
        evidence = [line, *cast("list[Any]", self.metadata.get("evidence") or [])]
        metadata = {**self.metadata, "evidence": evidence, ACCEPTED: acceptance.to_dict()}
        record = {**self.record, "result": {**self.record["result"], "metadata": metadata}}
        return Refusal(self.node_id, self.key, self.run_id, self.run_name, self.error, record)


_REFUSALS = TypeAdapter(Refusal)


def judged_hash(outputs: Mapping[str, Any]) -> str:
    """Return the hash of what a gate judged.

    Args:
        outputs: Output of each of its dependencies by id.
    """
    return hashlib.sha256(to_json([[id, to_json(outputs[id]).decode()] for id in sorted(outputs)])).hexdigest()


async def write_refusal(records: Records, refusal: Refusal) -> None:
    """Keep a refusal in place of an earlier one of the same node.

    Raises:
        Exception: The storage refuses it; each kind of storage has its own error.
    """
    await records.write_beside(refusal.node_id, ENDING, _REFUSALS.dump_json(refusal))


async def read_refusal(records: Records, node_id: str) -> Refusal | None:
    """Return the newest refusal of a node; `None` where there is none.

    Raises:
        UsageError: The file does not hold a refusal.
        RecordStorageError: The storage does not answer.
    """
    content = await records.read_beside(node_id, ENDING)
    if content is None:
        return None
    try:
        refusal = _REFUSALS.validate_json(content)
        OpaqueResultSerializer().loads(to_json(refusal.record))
        assert isinstance(refusal.metadata, Mapping)
    except (ValidationError, ValueError, KeyError, TypeError, AssertionError) as error:
        path = records.path_beside(node_id, ENDING)
        raise UsageError(
            f"the refusal {path} is damaged ({type(error).__name__}): resume the run to judge again"
        ) from None
    return refusal


async def write_accepted(records: Records, refusal: Refusal) -> None:
    """Write the record of a refusal that was accepted: a run that resumes reuses it."""
    await records.write(refusal.node_id, refusal.key, cast("NodeRecord", refusal.record))
    await write_refusal(records, refusal)
