"""What a tool is: validation of inputs, and the version that enters keys."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field

from vibe_prefect.tools import (
    BaseTool,
    Tool,
    ToolCategory,
    ToolContext,
    ToolRegistry,
    ToolResult,
    ToolSpec,
)
from vibe_prefect.tools.base import input_problems, tool_version

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"text": {"type": "string"}, "times": {"type": "integer", "minimum": 1}},
    "required": ["text"],
}


class Inputs(BaseModel):
    model_config = ConfigDict(extra="forbid")

    text: str
    times: int = Field(default=1, ge=1)


class Repeat(BaseTool):
    """A tool that has a JSON Schema only."""

    @property
    def spec(self) -> ToolSpec:
        return ToolSpec("repeat", "Repeat a text.", ToolCategory.TEXT, SCHEMA, {})

    async def execute(self, inputs: dict[str, Any], context: ToolContext | None = None) -> ToolResult:
        return ToolResult(success=True, output={"text": inputs["text"] * inputs.get("times", 1)})


class ModelRepeat(Repeat):
    """The same with a pydantic model."""

    version = "7"
    input_model = Inputs


async def test_a_tool_class_runs_and_fits_the_protocol() -> None:
    tool = Repeat()
    result = await tool.execute({"text": "ab", "times": 2})
    assert result == ToolResult(True, {"text": "abab"}, {}, None)
    assert isinstance(tool, Tool)
    assert ToolRegistry([tool]).get("repeat") is tool


def test_the_base_class_is_abstract() -> None:
    with pytest.raises(TypeError, match="abstract"):
        BaseTool()  # type: ignore[abstract]  # pyright: ignore[reportAbstractUsage]


@pytest.mark.parametrize("tool", [Repeat(), ModelRepeat()], ids=["schema", "model"])
@pytest.mark.parametrize(
    ("inputs", "valid"),
    [
        ({"text": "a"}, True),
        ({"text": "a", "times": 3}, True),
        ({}, False),
        ({"text": 1}, False),
        ({"text": "a", "times": 0}, False),
    ],
)
def test_inputs_are_valid_when_they_fit_the_schema(tool: BaseTool, inputs: dict[str, Any], valid: bool) -> None:
    assert tool.validate_inputs(inputs) is valid


@pytest.mark.parametrize(
    ("inputs", "path", "message"),
    [
        ({}, ("text",), "missing; the tool needs it"),
        ({"text": "a", "tims": 1}, ("tims",), "unknown input; did you mean 'times'?"),
        ({"text": "a", "q": 1}, ("q",), "unknown input; known inputs: text, times"),
        ({"text": 5}, ("text",), "expected text, found 5; put it in quotes"),
    ],
)
def test_a_problem_names_the_input_and_what_was_found(
    inputs: dict[str, Any], path: tuple[str, ...], message: str
) -> None:
    (problem,) = input_problems(ModelRepeat(), inputs)
    assert (problem.path, problem.message) == (path, message)


def test_all_problems_are_found_at_once() -> None:
    assert len(input_problems(ModelRepeat(), {"times": 0, "q": 1})) == 3


def test_a_stated_version_stands_for_a_tool_else_its_source() -> None:
    assert tool_version(ModelRepeat()) == "7"
    assert tool_version(Repeat()).startswith("source-")
    assert tool_version(Repeat()) == tool_version(Repeat())


def test_the_categories_are_the_contracts() -> None:
    assert [category.value for category in ToolCategory] == [
        "text",
        "image",
        "video",
        "audio",
        "search",
        "transform",
        "analysis",
        "utility",
    ]
