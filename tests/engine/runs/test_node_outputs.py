"""Outputs of runs, whole, from the run's folder and from the records."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.plans import node, plan
from vibe_prefect import NodeContext, ToolRegistry, UsageError, WorkflowExecutor, WorkflowNode, WorkflowNodeType
from vibe_prefect.engine.runs.node_outputs import RunOutputs
from vibe_prefect.operations import output

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_server", "folder")]

LONG = "word " * 20_000
ROWS = [{"name": "Ada", "born": 1815}]


async def work(node: WorkflowNode, context: NodeContext) -> Any:
    if node.id == "bad":
        raise RuntimeError("no paper")
    if node.id == "file":
        return dict(context.workspace.write("texts/post.md", LONG.encode()))
    if node.id == "cover":
        return {"pictures": [dict(context.workspace.write("cover.png", b"not really"))]}
    return {"text": {"text": LONG}, "rows": ROWS, "nothing": None}[node.id]


async def made(storage: str) -> WorkflowExecutor:
    story = node("story", "composite", children=[node("text"), node("file", needs=["text"])])
    executor = WorkflowExecutor(tool_registry=ToolRegistry(), storage=storage)
    kinds = set(WorkflowNodeType) - {WorkflowNodeType.COMPOSITE}
    executor.node_handlers = dict.fromkeys(kinds, work)
    nodes = [story, node("cover"), node("rows"), node("nothing"), node("bad"), node("after", needs=["bad"])]
    await executor.execute_plan(plan(*nodes, id="outputs"))
    return executor


async def test_outputs_are_had_whole_from_the_folder_and_from_the_records() -> None:
    run = (await made("records")).last_run
    assert run is not None

    async def of(node: str | None, to: str | None = None) -> RunOutputs:
        return await output(run.name, node, to=to, storage="records")

    assert (await of("text")).outputs[0].text == LONG
    assert (await of("rows")).outputs[0].data == ROWS
    results = await of(None, "all")
    assert [item.node.id for item in results.outputs] == ["cover", "rows", "file"]
    assert sorted(path.relative_to(Path("all").absolute()).as_posix() for path in results.written) == [
        "cover.json",
        "cover.png",
        "rows.json",
        "texts/post.md",
    ]

    shutil.rmtree(run.output_root)
    assert (await of("file")).outputs[0].text == LONG
    (copied,) = (await of("file", "again")).written
    assert copied.read_text() == LONG

    (run.output_root / "texts").mkdir(parents=True)
    (run.output_root / "texts" / "post.md").write_text("changed")
    assert (await of("file")).outputs[0].text == LONG, "the content that the node made, and not the changed one"
    for kept in Path().glob("*/*/files/*"):
        kept.unlink()
    with pytest.raises(UsageError, match=r"the file 'texts/post.md' of node 'file' was changed since .*--refresh file"):
        await of("file")
    with pytest.raises(UsageError, match=r"the file 'cover.png' of node 'cover' is gone"):
        await of("cover", "gone")

    for name, reason in {
        "texd": r"no node 'texd'; did you mean 'text'\?; its nodes: text, file",
        "story": "it only holds its children together: name one of text, file",
        "bad": f"node 'bad' has no output, it failed: .*no paper; to go on: vibe-prefect resume {run.name}",
        "after": "node 'after' has no output, it was skipped: ",
        "nothing": "node 'nothing' has no output: it returned nothing",
    }.items():
        with pytest.raises(UsageError, match=reason):
            await of(name)
    with pytest.raises(UsageError, match=f"named '{run.name}x'; did you mean '{run.name}'"):
        await output(f"{run.name}x")
    for name in ("rows", None):
        with pytest.raises(UsageError, match="there is no record in the storage of records that this machine uses"):
            await output(run.name, name, storage="elsewhere")
