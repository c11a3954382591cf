"""A run with a gate that refuses, a timeout and a low quality, for tests of replanning."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from tests.plans import node, plan
from vibe_prefect import BaseTool, ToolCategory, ToolContext, ToolResult, ToolSpec, WorkflowPlan
from vibe_prefect.llm.provider.model_client import Question
from vibe_prefect.testing import RecordingTool, ScriptedModel, verdict
from vibe_prefect.tools.registry import ToolRegistry

WEAK = "A dull text with {{ inputs.secret }} and {% raw %} in it."
"""What the model writes at first; a quote of it holds the marks of templates."""

STRONG = "A lively text."
MENDED = "{node}, but lively"
CHANGED = {"post", "draft", "slow"}
EXECUTED = CHANGED | {"gate", "publish", "review", "late"}
REUSED = {"brief", "aside"}


SLUGGISH_FILE = """
import asyncio
from pathlib import Path
from vibe_prefect import tool

@tool(version="1")
async def sluggish() -> dict[str, str]:
    '''Hangs at first.'''
    seen = Path("seen")
    if not seen.exists():
        seen.touch()
        await asyncio.Event().wait()
    return {"text": "slow and steady"}
"""
"""File of a tool that hangs in its first call, whatever process that is in: the folder of the run remembers it."""


class Sluggish(BaseTool):
    """A tool that never answers its first call."""

    version = "1"

    def __init__(self, hangs: int = 1) -> None:
        self.calls = 0
        self._hangs = hangs

    @property
    def spec(self) -> ToolSpec:
        return ToolSpec("sluggish", "Hangs at first.", ToolCategory.UTILITY, {"type": "object"}, {})

    async def execute(self, inputs: dict[str, Any], context: ToolContext | None = None) -> ToolResult:
        self.calls += 1
        if self.calls <= self._hangs:
            await asyncio.Event().wait()
        return ToolResult(True, {"text": "slow and steady"})


def poor_plan(*more: Any) -> WorkflowPlan:
    """A gate that refuses, a review that passes with a low score, a node that runs out of time, and what depends."""

    def judge(threshold: float) -> dict[str, Any]:
        return {"tool": "judge", "tool_inputs": {"criteria": ["lively"], "threshold": threshold}}

    return plan(
        node("brief", parameters={"tool": "brief"}),
        node("aside", needs=["brief"], parameters={"tool": "llm_generate", "tool_inputs": {"prompt": "Write aside"}}),
        node("post", needs=["brief"], parameters={"tool": "llm_generate", "tool_inputs": {"prompt": "Write post"}}),
        node("gate", "validate", needs=["post"], parameters=judge(0.7)),
        node("publish", "transform", needs=["gate"], parameters={"tool": "publish"}),
        node("draft", needs=["brief"]),
        node("review", "validate", needs=["draft"], parameters=judge(0.3)),
        node("slow", parameters={"tool": "sluggish"}, policy={"timeout": 1.0}),
        node("late", "transform", needs=["slow"], parameters={"tool": "publish"}),
        *more,
        id="poor",
    )


def answer(question: Question, edits: Mapping[str, Any] | None = None) -> str:
    """Answer as a model that writes well only once its prompt says what was missed."""
    if question.schema is None:
        return STRONG if "missed" in question.prompt or "but lively" in question.prompt else WEAK
    if "edits" in question.schema.get("properties", {}):
        return json.dumps(edits if edits is not None else good_edits())
    return verdict({"lively": 1.0}, STRONG) if STRONG in question.prompt else verdict({"lively": 0.4}, WEAK)


def good_edits() -> dict[str, Any]:
    """The edits that mend the plan, as a model proposes them."""
    prompts = [{"node": id, "prompt": f"Write {id}, but lively", "reason": "it was dull"} for id in ("post", "draft")]
    return {"edits": [*prompts, {"node": "slow", "timeout": 5, "reason": "it needs time"}], "new_nodes": []}


def tools_of(model: ScriptedModel, sluggish: Sluggish | None = None) -> ToolRegistry:
    """The tools of the plan."""
    tools = model.registry
    for tool in (RecordingTool("brief", {"text": "A brief."}), RecordingTool("publish", {"text": "done"})):
        tools.register(tool)
    tools.register(sluggish or Sluggish())
    return tools
