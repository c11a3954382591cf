"""Work as a value: sent to another process, and executed there."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.paths import ROOT
from tests.plans import node, plan
from vibe_prefect import NodeContext, ToolError, ToolRegistry, WorkflowNode, WorkflowNodeType, Workspace, compile_plan
from vibe_prefect.run.node_work import LocalTools, NodeOutcome, NodeWork, execute_node, failure_of, is_retryable
from vibe_prefect.run.run_state import NodeRun, RunState
from vibe_prefect.testing import RecordingTool

EXECUTE = """
import asyncio, pickle, sys
works = pickle.load(sys.stdin.buffer)
from vibe_prefect.run.node_work import execute_node
outcomes = [asyncio.run(execute_node(work)) for work in works]
assert not [name for name in sys.modules if name.split(".")[0] == "prefect"]
pickle.dump(outcomes, sys.stdout.buffer)
"""


def shouting_tools() -> ToolRegistry:
    def shout(inputs: dict[str, Any]) -> dict[str, str]:
        return {"text": inputs["text"].upper()}

    return ToolRegistry([RecordingTool("shout", shout), RecordingTool("broken", error="down")])


async def handle(node: WorkflowNode, context: NodeContext) -> dict[str, Any]:
    told = await context.call_tool("shout", {"text": context.previous_outputs["a"]["text"]})
    written = context.workspace.write("made.txt", told["text"].encode())
    return {"text": told["text"], "file": written, "by": node.id}


def work_of(parameters: dict[str, Any] | None, folder: Path, tools: Callable[[], ToolRegistry]) -> NodeWork:
    second = node("b", "transform", needs=["a"], parameters=parameters or {})
    handlers = {} if parameters else {WorkflowNodeType.TRANSFORM: handle}
    compiled = compile_plan(
        plan(node("a", parameters={"tool": "shout", "tool_inputs": {"text": "x"}}), second),
        tools=shouting_tools(),
        handled_types=handlers,
    )
    state = RunState(compiled, NodeRun)
    state.runs["a"].output = {"text": "hello"}
    return state.work(state.runs["b"], tools, Workspace(folder, folder / "out"), handlers)


def test_work_is_executed_in_another_process_without_prefect(folder: Path) -> None:
    works = [work_of(None, folder, shouting_tools), work_of({"tool": "broken"}, folder, shouting_tools)]
    command = [sys.executable, "-c", EXECUTE]
    done = subprocess.run(command, input=pickle.dumps(works), capture_output=True, cwd=ROOT, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode()
    outcomes: list[NodeOutcome] = pickle.loads(done.stdout)  # noqa: S301 - written by the process above
    assert outcomes[0].error is None
    assert (outcomes[0].result["text"], outcomes[0].result["by"], outcomes[0].meter.attempts) == ("HELLO", "b", 1)
    assert (folder / "out" / "made.txt").read_text() == "HELLO"
    error = outcomes[1].error
    assert isinstance(error, ToolError)
    assert is_retryable(error)
    assert failure_of(error).message == "Tool execution failed: down"


async def test_tools_of_this_process_alone_are_used_here_and_never_sent(folder: Path) -> None:
    inputs = {"tool": "shout", "tool_inputs": {"text": "{{ outputs.a.text }}"}}
    work = work_of(inputs, folder, LocalTools(shouting_tools()))
    assert (await execute_node(work)).result["result"] == {"text": "HELLO"}
    with pytest.raises(pickle.PicklingError, match="name a function of a module"):
        pickle.dumps(work)
