"""The document of a run: its report as data, kept beside the run's records."""

from __future__ import annotations

import logging
from typing import Any, cast

from pydantic_core import from_json, to_json

from vibe_prefect.engine.prefect_seam import read_block, write_block
from vibe_prefect.engine.storage import RecordStore
from vibe_prefect.errors import UsageError
from vibe_prefect.reporting.report import RunReport

logger = logging.getLogger(__name__)


def document_path(lineage: str, run_id: str) -> str:
    """Return where the report of a run lies in the storage of records.

    Args:
        lineage: Under which the run's records are kept.
        run_id: Id of the flow run; runs that go on from one another share a lineage, and each has its own report.
    """
    return f"{lineage}/report-{run_id}.json"


async def write_report(store: RecordStore, lineage: str, report: RunReport) -> None:
    """Keep a report; one of the same run is replaced.

    Args:
        store: Where the run's records are kept.
        lineage: Under which they are kept.
        report: What came of the run.

    Raises:
        Exception: The storage refuses it; each kind of storage has its own error.
    """
    assert store.result_storage is not None
    path, content = document_path(lineage, report.run_id), to_json(report.to_dict())
    await write_block(store.result_storage, path, content)


async def read_document(store: RecordStore, lineage: str, run_id: str) -> RunReport | None:
    """Return the report of a run; `None` when there is none, as for a run that was killed.

    Args:
        store: Where the run's records are kept.
        lineage: Under which they are kept.
        run_id: Id of the flow run.

    Raises:
        UsageError: What lies there is no report, or one of another schema.
    """
    assert store.result_storage is not None
    path = document_path(lineage, run_id)
    try:
        content = await read_block(store.result_storage, path)
    except Exception:
        logger.debug("No report %s", path, exc_info=True)  # each kind of storage has its own error for a missing file
        return None
    try:
        data = from_json(content)
    except ValueError as error:
        raise UsageError(f"the report {path} is damaged: {error}; make the run again") from None
    return RunReport.from_dict(cast("dict[str, Any]", data) if isinstance(data, dict) else {})
