"""Tools and registries that were written for the reference, with classes of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.executors import executor
from tests.plans import node, plan
from tests.run.foreign_classes import ForeignCategory, ForeignResult, ForeignSpec
from vibe_prefect import ExecutionStatus, PlanError, ToolDefinitionError, ToolRegistry, compile_plan
from vibe_prefect.testing import run_offline
from vibe_prefect.tools.registry import adapted


class Echo:
    """A tool that says what it was given."""

    def __init__(self, name: str, category: ForeignCategory = ForeignCategory.TEXT) -> None:
        self.name = name
        self.category = category
        self.contexts: list[Any] = []

    @property
    def spec(self) -> ForeignSpec:
        schema = {"type": "object", "required": ["prompt"], "properties": {"prompt": {"type": "string"}}}
        return ForeignSpec(self.name, "Say it again", self.category, schema, {"type": "object"})

    async def execute(self, inputs: dict[str, Any], context: dict[str, Any] | None = None) -> ForeignResult:
        self.contexts.append(context)
        if inputs["prompt"] == "fail":
            return ForeignResult(success=False, output=None, error="told to")
        return ForeignResult(
            success=True, output={"text": f"{self.name}: {inputs['prompt']}"}, metadata={"tool": self.name}
        )


class Registry:
    """A registry with the reference's methods and nothing else."""

    def __init__(self, *tools: Echo) -> None:
        self._tools: dict[str, Echo] = {}
        for tool in tools:
            self.register(tool)

    def register(self, tool: Echo) -> None:
        self._tools[tool.spec.name] = tool

    def get(self, name: str) -> Echo | None:
        return self._tools.get(name)

    def list_tools(self, category: ForeignCategory | None = None) -> list[ForeignSpec]:
        return [tool.spec for tool in self._tools.values() if category is None or tool.category is category]

    def find_by_category(self, category: ForeignCategory) -> list[Echo]:
        return [tool for tool in self._tools.values() if tool.category is category]

    def to_prompt_context(self) -> str:
        return "\n".join(self._tools)


class Strict(Registry):
    """A registry that raises for a name it does not know, and has a tool that it does not list."""

    def get(self, name: str) -> Echo | None:
        return Echo("hidden") if name == "hidden" else self._tools[name]


def by_tool(id: str, tool: str, prompt: str = "hello", **fields: Any) -> Any:
    return node(id, "transform", parameters={"tool": tool, "tool_inputs": {"prompt": prompt}}, **fields)


@pytest.mark.server
@pytest.mark.usefixtures("prefect_server", "folder")
async def test_a_foreign_registry_runs_plans() -> None:
    llm, echo = Echo("llm_generate"), Echo("echo", ForeignCategory.UTILITY)
    registry = Registry(llm)
    runner = executor(tool_registry=registry)
    registry.register(echo)
    wanted = plan(node("draft"), by_tool("again", "echo", needs=["draft"]), by_tool("bad", "echo", "fail"))
    result = await runner.execute_plan(wanted)
    assert result.node_results["draft"].result["result"] == {"text": "llm_generate: do draft"}
    assert result.node_results["again"].result == {
        "type": "tool_execution",
        "tool": "echo",
        "description": "do again",
        "result": {"text": "echo: hello"},
        "metadata": {"tool": "echo"},
    }
    assert result.node_results["bad"].error == "Tool execution failed: told to"
    (context,) = (context for context in echo.contexts if context["node_id"] == "again")
    assert context["workflow_context"] == "Previous step (draft):\nllm_generate: do draft"
    assert context["previous_outputs"] == {"draft": {"text": "llm_generate: do draft"}}
    assert runner.tool_registry is registry


async def test_a_foreign_registry_works_wherever_tools_are_given(tmp_path: Path) -> None:
    registry, wanted = Registry(Echo("echo")), plan(by_tool("a", "echo"))
    assert compile_plan(wanted, tools=registry).tools.keys() == {"echo"}
    result = await run_offline(wanted, registry, output=tmp_path)
    assert result.status is ExecutionStatus.COMPLETED


@pytest.mark.parametrize("registry", [Registry(Echo("echo")), Strict(Echo("echo"))])
def test_an_unknown_tool_of_a_foreign_registry_is_a_problem_of_the_plan(registry: Registry) -> None:
    with pytest.raises(PlanError, match=r"ecko.*did you mean 'echo'"):
        compile_plan(plan(by_tool("a", "ecko")), tools=registry)


def test_an_adapted_registry_has_the_methods_of_ours() -> None:
    found = adapted(Strict(Echo("b"), Echo("a", ForeignCategory.UTILITY)))
    assert (list(found), len(found), "a" in found, "hidden" in found, "c" in found) == (
        ["a", "b"],
        2,
        True,
        True,
        False,
    )
    assert [spec.name for spec in found.list_tools()] == ["a", "b"]
    assert found.get("hidden") is not None
    assert found.default_for("generate") is None


def test_a_registry_of_ours_is_used_as_it_is() -> None:
    registry = ToolRegistry()
    assert adapted(registry) is registry


@pytest.mark.parametrize("given", [{}, [], "tools", object()])
def test_something_else_is_not_a_registry(given: Any) -> None:
    with pytest.raises(ToolDefinitionError, match="is not a registry of tools: it needs `get` and `list_tools`"):
        adapted(given)
