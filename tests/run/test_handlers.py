"""What the built-in handlers return, what tools are told, and how a handler is called: the contract's section 5."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.plans import node, plan
from tests.run.foreign_classes import ForeignCategory, ForeignResult, ForeignSpec
from vibe_prefect import (
    NodeContext,
    ToolContext,
    ToolRegistry,
    ToolResult,
    Vibe,
    WorkflowNode,
    WorkflowNodeType,
    Workspace,
    compile_plan,
    tool,
)
from vibe_prefect.plan.node_tools import tool_inputs, tool_of
from vibe_prefect.run.handlers import builtin_handler, fill_inputs, invoke, is_async, output_of, simulate, takes_context
from vibe_prefect.templates.texts import InvalidTemplateError, template_values
from vibe_prefect.tools import TemplateText
from vibe_prefect.tools.base import InputNames


@tool
def shout(text: str) -> dict[str, str]:
    """Say it louder."""
    return {"text": text.upper()}


@tool
def look(context: ToolContext) -> dict[str, Any]:
    """Return what it is told."""
    return {key: value for key, value in context.items() if key != "workspace"}


@tool
def report(text: str) -> ToolResult:
    """Succeed with facts about the making."""
    return ToolResult(success=True, output=text, metadata={"tokens": len(text)})


@tool
def refuse(reason: str) -> ToolResult:
    """Report failure."""
    return ToolResult(success=False, output=None, error=reason)


@tool
def explode(reason: str) -> str:
    """Raise."""
    raise ConnectionError(reason)


@tool
def llm_generate(prompt: str, temperature: float = 0.5) -> dict[str, Any]:
    """Stand in for a model."""
    return {"text": f"{prompt} at {temperature}"}


@tool
def fill(template: TemplateText, title: str = "") -> dict[str, str]:
    """Take a template as it is."""
    return {"text": template, "title": title}


TOOLS = ToolRegistry([shout, look, report, refuse, explode, fill])
WITH_MODEL = ToolRegistry([shout, llm_generate])


def context_for(
    subject: WorkflowNode,
    tools: ToolRegistry = TOOLS,
    outputs: dict[str, Any] | None = None,
    *,
    simulated: bool = False,
) -> NodeContext:
    async def call(name: str, inputs: dict[str, Any]) -> ToolResult:
        return await invoke(name, inputs, context)

    context = NodeContext(
        plan_id="plan",
        node=subject,
        vibe=Vibe(description="a test", style="dark"),
        previous_outputs=outputs or {},
        workspace=Workspace(Path("in"), Path("out")),
        tools=tools,
        simulated=simulated,
        caller=call,
    )
    return context


async def run(subject: WorkflowNode, tools: ToolRegistry = TOOLS, outputs: dict[str, Any] | None = None) -> Any:
    return await builtin_handler(subject, context_for(subject, tools, outputs))


def with_tool(name: str, inputs: dict[str, Any] | None = None, kind: str = "generate", **fields: Any) -> WorkflowNode:
    parameters = {"tool": name} | ({} if inputs is None else {"tool_inputs": inputs})
    return node("a", kind, parameters=parameters, **fields)


SIMULATED = [
    ("analyze", "analysis", "Analysis completed for: do a"),
    ("generate", "generation", "Generated content for: do a"),
    ("transform", "transformation", "Transformed content for: do a"),
    ("validate", "validation", "Validation passed for: do a"),
]


@pytest.mark.parametrize(("kind", "result_type", "text"), SIMULATED)
async def test_a_simulated_node_returns_the_contracts_text_and_says_so(kind: str, result_type: str, text: str) -> None:
    subject = node("a", kind, parameters={"detail": "high"})
    assert await builtin_handler(subject, context_for(subject, simulated=True)) == {
        "type": result_type,
        "description": "do a",
        "result": text,
        "parameters": {"detail": "high"},
        "simulated": True,
    }


async def test_a_simulated_composite_counts_its_children() -> None:
    subject = node("a", "composite", children=[node("b"), node("c", children=[node("d")])])
    assert await builtin_handler(subject, context_for(subject, simulated=True)) == {
        "type": "composite",
        "description": "do a",
        "result": "Composite task organized: do a",
        "child_count": 2,
        "simulated": True,
    }


async def test_a_composite_that_really_runs_is_not_marked_as_simulated() -> None:
    assert await run(node("a", "composite", children=[node("b")])) == {
        "type": "composite",
        "description": "do a",
        "result": "Composite task organized: do a",
        "child_count": 1,
    }


async def test_simulation_calls_no_tool() -> None:
    subject = with_tool("explode", {"reason": "must not run"})
    result = await builtin_handler(subject, context_for(subject, simulated=True))
    assert (result["type"], result["simulated"]) == ("generation", True)


@pytest.mark.parametrize(("kind", "least"), [("generate", 0.2), ("analyze", 0.1), ("composite", 0.1)])
async def test_a_simulation_takes_its_time(kind: str, least: float) -> None:
    begun = time.perf_counter()
    await simulate(node("a", kind))
    assert time.perf_counter() - begun >= least * 0.95


@pytest.mark.parametrize("kind", list(WorkflowNodeType))
async def test_a_named_tool_runs_any_node_type(kind: str) -> None:
    assert await run(with_tool("shout", {"text": "hi"}, kind)) == {
        "type": "tool_execution",
        "tool": "shout",
        "description": "do a",
        "result": {"text": "HI"},
        "metadata": {},
    }


async def test_a_tools_metadata_stand_beside_its_output() -> None:
    result = await run(with_tool("report", {"text": "four"}))
    assert (result["result"], result["metadata"]) == ("four", {"tokens": 4})


async def test_a_tool_is_told_about_the_node_and_its_dependencies() -> None:
    outputs = {"first": {"text": "one"}, "second": 2}
    result = await run(with_tool("look", {}), outputs=outputs)
    assert result["result"] == {
        "workflow_context": "Previous step (first):\none",
        "node_description": "do a",
        "previous_outputs": outputs,
        "node_id": "a",
        "plan_id": "plan",
        "key": "",
        "node_type": "generate",
        "parameters": {},
        "vibe": Vibe(description="a test", style="dark"),
    }


@pytest.mark.parametrize(
    ("outputs", "text"),
    [
        ({}, ""),
        ({"a": {"text": "one"}}, "Previous step (a):\none"),
        (
            {"b": {"text": "two\nlines"}, "a": {"text": "one", "more": 1}},
            "Previous step (b):\ntwo\nlines\n\nPrevious step (a):\none",
        ),
        ({"a": "bare text", "b": ["text"], "c": None, "d": 1, "e": {"result": "x"}}, ""),
        ({"a": {"other": 1}, "b": {"text": "two"}}, "Previous step (b):\ntwo"),
        ({"a": {"text": ""}}, "Previous step (a):\n"),
        ({"a": {"text": 7}}, "Previous step (a):\n7"),
    ],
)
def test_the_workflow_context_has_a_block_for_each_dependency_with_text(outputs: dict[str, Any], text: str) -> None:
    assert context_for(node("x"), outputs=outputs).workflow_context == text


@pytest.mark.parametrize(
    ("result", "output"),
    [
        ({"type": "tool_execution", "tool": "t", "result": {"text": "x"}, "metadata": {}}, {"text": "x"}),
        ({"type": "tool_execution", "result": None}, None),
        ({"type": "generation", "result": "text", "parameters": {}}, "text"),
        ({"type": "composite", "result": "text", "child_count": 0}, "text"),
        ({"type": "analysis", "result": [1], "simulated": True}, [1]),
        ({"type": "transformation", "result": 1}, 1),
        ({"type": "validation", "result": 1}, 1),
        ({"type": "own", "result": "kept"}, {"type": "own", "result": "kept"}),
        ({"type": "generation"}, {"type": "generation"}),
        ({"result": "kept"}, {"result": "kept"}),
        ({"text": "x"}, {"text": "x"}),
        ("text", "text"),
        ([1], [1]),
        (None, None),
    ],
)
def test_a_node_passes_on_its_tools_output_or_its_handlers_whole_result(result: Any, output: Any) -> None:
    assert output_of(result) == output


async def test_a_tool_that_reports_failure_fails_the_node() -> None:
    with pytest.raises(RuntimeError, match=r"^Tool execution failed: out of paint$"):
        await run(with_tool("refuse", {"reason": "out of paint"}))


async def test_a_tool_that_raises_fails_the_node_with_its_own_error() -> None:
    with pytest.raises(ConnectionError, match=r"^the line is dead$"):
        await run(with_tool("explode", {"reason": "the line is dead"}))


async def test_a_tool_that_is_not_registered_is_named() -> None:
    with pytest.raises(KeyError, match="no tool is named 'paint'; registered: explode, fill, look"):
        await run(with_tool("paint"))


async def test_a_handler_calls_tools_through_its_context() -> None:
    context = context_for(node("a"))
    assert await context.call_tool("shout", {"text": "hi"}) == {"text": "HI"}
    with pytest.raises(RuntimeError, match=r"^Tool execution failed: no$"):
        await context.call_tool("refuse", {"reason": "no"})
    with pytest.raises(KeyError, match="no tool is named 'paint'"):
        await context.call_tool("paint", {})


async def test_a_generate_node_uses_the_model_with_its_description_as_prompt() -> None:
    subject = node("a", parameters={"tool_inputs": {"temperature": 0.9}, "tone": "dry"})
    before = copy.deepcopy(subject)
    assert await run(subject, WITH_MODEL) == {
        "type": "generation",
        "tool": "llm_generate",
        "description": "do a",
        "result": {"text": "do a at 0.9"},
        "metadata": {},
        "parameters": {"tool_inputs": {"temperature": 0.9}, "tone": "dry"},
    }
    assert subject == before


async def test_a_prompt_of_ones_own_is_kept() -> None:
    result = await run(node("a", parameters={"tool_inputs": {"prompt": "Sing"}}), WITH_MODEL)
    assert result["result"] == {"text": "Sing at 0.5"}


@pytest.mark.parametrize("kind", ["generate", "analyze"])
async def test_the_model_named_by_a_node_has_the_description_as_prompt_too(kind: str) -> None:
    subject = with_tool("llm_generate", kind=kind)
    result = await run(subject, WITH_MODEL)
    assert (result["type"], result["result"]) == ("tool_execution", {"text": "do a at 0.5"})
    assert subject.parameters == {"tool": "llm_generate"}


@pytest.mark.parametrize(
    ("subject", "tools", "name"),
    [
        (node("a"), TOOLS, None),
        (node("a"), WITH_MODEL, "llm_generate"),
        (node("a", "analyze"), WITH_MODEL, None),
        (node("a", "composite"), WITH_MODEL, None),
        (with_tool("shout"), WITH_MODEL, "shout"),
        (with_tool("unknown"), WITH_MODEL, "unknown"),
        (node("a", parameters={"tool": None}), WITH_MODEL, "llm_generate"),
    ],
)
def test_which_tool_runs_a_node(subject: WorkflowNode, tools: ToolRegistry, name: str | None) -> None:
    assert tool_of(subject, tools) == name


def test_the_inputs_of_a_tool_are_a_copy() -> None:
    subject = with_tool("shout", {"text": "hi"})
    tool_inputs(subject, "shout")["text"] = "spoilt"
    assert subject.parameters == {"tool": "shout", "tool_inputs": {"text": "hi"}}
    assert tool_inputs(with_tool("shout"), "shout") == {}


async def test_inputs_are_filled_in_with_what_the_dependencies_made() -> None:
    subject = with_tool("shout", {"text": "{{ outputs.digest.text }}, {{ vibe.style }}, {{ plan_id }}/{{ node_id }}"})
    before = copy.deepcopy(subject)
    result = await run(subject, outputs={"digest": {"text": "news"}})
    assert result["result"] == {"text": "NEWS, DARK, PLAN/A"}
    assert subject == before


async def test_the_models_prompt_is_a_template_too() -> None:
    subject = node("a", parameters={"tool_inputs": {"prompt": "{{ description }} with {{ outputs.b }}"}})
    assert (await run(subject, WITH_MODEL, {"b": "care"}))["result"] == {"text": "do a with care at 0.5"}


async def test_a_template_without_its_output_fails_the_node() -> None:
    with pytest.raises(InvalidTemplateError, match="has no attribute 'digest'"):
        await run(with_tool("shout", {"text": "{{ outputs.digest }}"}))


async def test_an_input_that_is_a_template_itself_reaches_the_tool_as_written() -> None:
    assert InputNames.of(fill).raw == {"template"}
    context = context_for(node("a"))
    inputs = {"template": "{{ title }}", "title": "{{ description }}"}
    assert await fill_inputs(fill, inputs, template_values(context.tool_context)) == {
        "template": "{{ title }}",
        "title": "do a",
    }
    assert inputs["title"] == "{{ description }}"


def test_what_templates_can_name_is_plain_data() -> None:
    outputs = {"b": 1}
    assert template_values(context_for(node("a"), outputs=outputs).tool_context) == {
        "outputs": outputs,
        "vibe": {"description": "a test", "style": "dark", "constraints": [], "domain": None, "metadata": {}},
        "plan_id": "plan",
        "node_id": "a",
        "description": "do a",
    }


class ForeignBase:
    """A base class that knows nothing of ours."""


class ForeignTool(ForeignBase):
    """A tool written for the reference."""

    seen: list[str]

    def __init__(self) -> None:
        self.seen = []

    @property
    def spec(self) -> Any:
        schema = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
        return ForeignSpec("foreign", "From elsewhere.", ForeignCategory.TEXT, schema, {"type": "object"})

    def validate_inputs(self, inputs: dict[str, Any]) -> bool:
        return "text" in inputs

    async def execute(self, inputs: dict[str, Any], context: dict[str, Any] | None = None) -> Any:
        assert context is not None
        self.seen += [context["node_description"], context["workflow_context"]]
        if inputs["text"] == "fail":
            return ForeignResult(False, None, error="told to")
        return ForeignResult(True, {"text": inputs["text"][::-1]}, {"foreign": True})


async def test_a_tool_written_for_the_reference_works_unchanged() -> None:
    foreign = ForeignTool()
    registry = ToolRegistry([foreign])
    subject = with_tool("foreign", {"text": "{{ outputs.b.text }}"}, needs=["b"])
    compile_plan(
        plan(node("b", parameters={"tool": "foreign", "tool_inputs": {"text": "cba"}}), subject), tools=registry
    )
    result = await run(subject, registry, {"b": {"text": "abc"}})
    assert result == {
        "type": "tool_execution",
        "tool": "foreign",
        "description": "do a",
        "result": {"text": "cba"},
        "metadata": {"foreign": True},
    }
    assert foreign.seen == ["do a", "Previous step (b):\nabc"]
    with pytest.raises(RuntimeError, match=r"^Tool execution failed: told to$"):
        await run(with_tool("foreign", {"text": "fail"}), registry)


def test_a_foreign_tools_category_is_understood() -> None:
    registry = ToolRegistry([ForeignTool()])
    category: Any = ForeignCategory.TEXT
    ours: Any = "text"
    assert [spec.name for spec in registry.list_tools(ours)] == ["foreign"]
    assert [spec.name for spec in registry.list_tools(category)] == ["foreign"]
    assert registry.to_prompt_context() == "foreign [text]: From elsewhere.\n  inputs: text"


class Handlers:
    """Methods and callable objects as handlers."""

    def plain(self, node: WorkflowNode) -> None: ...

    def informed(self, node: WorkflowNode, context: NodeContext) -> None: ...

    async def slow(self, node: WorkflowNode, context: NodeContext) -> None: ...

    @classmethod
    def of_class(cls, node: WorkflowNode) -> None: ...

    @staticmethod
    def static(node: WorkflowNode, context: NodeContext) -> None: ...


class Plain:
    def __call__(self, node: WorkflowNode) -> None: ...


class Informed:
    async def __call__(self, node: WorkflowNode, context: NodeContext) -> None: ...


def plain(node: WorkflowNode) -> None: ...


def informed(node: WorkflowNode, context: NodeContext) -> None: ...


def optional(node: WorkflowNode, context: NodeContext | None = None) -> None: ...


def positional(node: WorkflowNode, context: NodeContext, /) -> None: ...


def anything(*args: Any) -> None: ...


def node_and_rest(node: WorkflowNode, *rest: Any) -> None: ...


def by_keyword(node: WorkflowNode, *, verbose: bool = False) -> None: ...


def keywords(node: WorkflowNode, **options: Any) -> None: ...


def three(setting: str, node: WorkflowNode, context: NodeContext) -> None: ...


async def slow(node: WorkflowNode) -> None: ...


ONE: Callable[[WorkflowNode], str] = lambda node: node.id  # noqa: E731
TWO: Callable[[WorkflowNode, NodeContext], str] = lambda node, context: context.plan_id  # noqa: E731


@pytest.mark.parametrize(
    ("handler", "context", "asynchronous"),
    [
        pytest.param(plain, False, False, id="function"),
        pytest.param(informed, True, False, id="function with context"),
        pytest.param(optional, True, False, id="optional context"),
        pytest.param(positional, True, False, id="positional only"),
        pytest.param(anything, True, False, id="*args"),
        pytest.param(node_and_rest, True, False, id="node and *rest"),
        pytest.param(by_keyword, False, False, id="keyword-only option"),
        pytest.param(keywords, False, False, id="**options"),
        pytest.param(slow, False, True, id="async function"),
        pytest.param(Handlers().plain, False, False, id="method"),
        pytest.param(Handlers().informed, True, False, id="method with context"),
        pytest.param(Handlers().slow, True, True, id="async method"),
        pytest.param(Handlers.of_class, False, False, id="class method"),
        pytest.param(Handlers.static, True, False, id="static method"),
        pytest.param(Plain(), False, False, id="callable object"),
        pytest.param(Informed(), True, True, id="async callable object"),
        pytest.param(partial(three, "x"), True, False, id="partial"),
        pytest.param(
            partial(informed, context=context_for(node("x"))), False, False, id="partial that brings the context"
        ),
        pytest.param(partial(slow), False, True, id="partial of an async function"),
        pytest.param(partial(Handlers().slow), True, True, id="partial of an async method"),
        pytest.param(ONE, False, False, id="lambda"),
        pytest.param(TWO, True, False, id="lambda with context"),
        pytest.param(builtin_handler, True, True, id="the built-in one"),
    ],
)
def test_how_a_handler_is_called(handler: Callable[..., Any], context: bool, asynchronous: bool) -> None:
    assert takes_context(handler) is context
    assert is_async(handler) is asynchronous


async def test_the_built_in_handler_needs_a_node_at_work() -> None:
    with pytest.raises(RuntimeError, match="call it from a handler, or pass a NodeContext"):
        await builtin_handler(node("a"))
