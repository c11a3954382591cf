"""Large outputs by reference: a worker that sees the folder of the records reads them there, and they are not sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vibe_prefect.engine.records.records import Records
from vibe_prefect.engine.records.storage import RecordFolder, open_store, record_path
from vibe_prefect.errors import NotSentError
from vibe_prefect.plan.compiler import CompiledNode
from vibe_prefect.run.handlers import output_of
from vibe_prefect.run.run_state import output_hash
from vibe_prefect.text.json_text import texts_in

LARGE = 1_000_000
"""Characters of an output from which it is read from its record: less is sent sooner than a file is read."""


@dataclass(frozen=True, slots=True)
class RecordedOutput:
    """Reference to the output in a record."""

    folder: str
    """Folder of all records."""

    path: str
    """Path of the record in it."""

    sha256: str
    """Hash of the output, so that no other one is taken for it."""

    async def __call__(self) -> Any:
        """Return the output, where the work is done.

        Raises:
            NotSentError: There is no such record here, or it has another output.
        """
        record = await (await open_store(self.folder)).read_record(self.path)
        output = None if record is None else output_of(record["result"])
        if record is None or output_hash(output) != self.sha256:
            lack = "cannot be read there" if record is None else "has another output by now"
            raise NotSentError(
                f"an output that the node reads is not there: the record {self.path} in {self.folder} {lack}; see that "
                "the machines of the placement see this folder, or take `shares_files` out of its setting"
            )
        return output


def recorded_outputs(
    records: Records, sources: Mapping[str, CompiledNode], outputs: Mapping[str, Any]
) -> dict[str, RecordedOutput]:
    """Return references to those outputs that are large and on record in a folder.

    Args:
        records: Records of the run.
        sources: The nodes that made the outputs, by the ids of the outputs.
        outputs: The outputs.
    """
    storage = records.store.result_storage
    if not isinstance(storage, RecordFolder):
        return {}
    references: dict[str, RecordedOutput] = {}
    for id, output in outputs.items():
        path = record_path(records.namespace, sources[id].record_id, sources[id].key)
        if sum(map(len, texts_in(output))) >= LARGE and storage.resolve(path).is_file():
            references[id] = RecordedOutput(str(storage.root), path, output_hash(output))
    return references
