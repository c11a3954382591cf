"""Large outputs that travel to a placement as references to their records."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pytest

from tests.run.test_node_work import shouting_tools, work_of
from vibe_prefect.engine.placements.recorded_outputs import LARGE, recorded_outputs
from vibe_prefect.engine.records.records import Records
from vibe_prefect.engine.records.storage import NodeRecord, open_store
from vibe_prefect.errors import NotSentError
from vibe_prefect.plan.compiler import CompiledNode
from vibe_prefect.run.sending import SentWork, execute_payload, packed, unpacked

OUTPUT = {"text": "x" * LARGE}


@pytest.fixture
async def written(folder: Path) -> tuple[Records, CompiledNode]:
    """Records with the output of a node."""
    records = Records(await open_store(folder / "records"), str(uuid4()))
    source = work_of(None, folder, shouting_tools).node
    record = {"schema": 1, "result": OUTPUT, "duration": 0.0, "started_at": "2026-01-01T00:00:00Z", "attempts": 1}
    record |= {"cpu_time": 0.0, "memory_usage": 0, "cpu_scope": "thread"}
    await records.write(source.record_id, source.key, cast("NodeRecord", record))
    return records, source


@pytest.mark.parametrize(
    ("output", "is_known", "travels"),
    [
        pytest.param(OUTPUT, True, False, id="a large one does not"),
        pytest.param({"text": "x"}, True, True, id="a small one does"),
        pytest.param(OUTPUT, False, True, id="one without a record does"),
    ],
)
async def test_only_large_outputs_on_record_do_not_travel(
    written: tuple[Records, CompiledNode], folder: Path, output: Any, is_known: bool, travels: bool
) -> None:
    records, source = written
    if not is_known:
        records = Records(records.store, "elsewhere")
    inputs = {"tool": "shout", "tool_inputs": {"text": "{{ outputs.a.text }}"}}
    work = replace(work_of(inputs, folder, shouting_tools), outputs={"a": output})
    references = recorded_outputs(records, {"a": source}, work.outputs)
    payload = packed(SentWork.of(work, references), "side")
    assert (len(payload) > LARGE) is (travels and output is OUTPUT)
    done = unpacked(await asyncio.to_thread(execute_payload, payload, lambda _: None)).outcome
    assert (done.error, done.result["result"]) == (None, {"text": output["text"].upper()})


async def test_another_output_than_the_run_has_is_refused(written: tuple[Records, CompiledNode], folder: Path) -> None:
    records, source = written
    references = recorded_outputs(records, {"a": source}, {"a": {"text": "y" * LARGE}})
    with pytest.raises(NotSentError, match="has another output by now; see that the machines"):
        await references["a"]()
    for path in (folder / "records").glob("*/*"):
        path.unlink()
    with pytest.raises(NotSentError, match="cannot be read there"):
        await references["a"]()
