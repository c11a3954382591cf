"""`@tool`: functions as tools."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from pydantic import Field
from typing_extensions import TypedDict

from vibe_prefect.errors import ToolDefinitionError, UsageError
from vibe_prefect.tools import (
    FunctionTool,
    TemplateText,
    ToolCategory,
    ToolContext,
    ToolInputError,
    ToolResult,
    tool,
)
from vibe_prefect.tools.base import tool_version


class Greeting(TypedDict):
    text: str


@tool
def greet(name: str, mark: Annotated[str, Field(max_length=3)] = "!") -> Greeting:
    """Greet somebody
    kindly.

    More that nobody needs to know.
    """
    return Greeting(text=f"Hello {name}{mark}")


@tool(name="shout", category=ToolCategory.TRANSFORM, version="2")
async def loud(text: str, context: ToolContext) -> dict[str, Any]:
    return {"text": text.upper(), "node": context.get("node_id")}


@tool
def judge(score: int) -> Greeting | ToolResult:
    """Judge a score."""
    if score < 0:
        return ToolResult(False, None, {"score": score}, "below zero")
    return Greeting(text="fine")


async def test_a_function_becomes_a_tool() -> None:
    assert isinstance(greet, FunctionTool)
    assert (await greet.execute({"name": "Ada"})).output == {"text": "Hello Ada!"}
    assert greet(name="Ada", mark="?") == {"text": "Hello Ada?"}


async def test_an_async_function_becomes_a_tool_and_gets_the_context() -> None:
    result = await loud.execute({"text": "hi"}, ToolContext(node_id="n1"))
    assert result == ToolResult(True, {"text": "HI", "node": "n1"})


async def test_without_a_context_a_function_gets_an_empty_one() -> None:
    assert (await loud.execute({"text": "hi"})).output["node"] is None


async def test_a_sync_function_runs_in_another_thread() -> None:
    @tool
    def where() -> int:
        return threading.get_ident()

    assert (await where.execute({})).output != threading.get_ident()


async def test_a_tool_result_passes_through() -> None:
    assert await judge.execute({"score": -1}) == ToolResult(False, None, {"score": -1}, "below zero")
    assert await judge.execute({"score": 1}) == ToolResult(True, {"text": "fine"})


async def test_an_exception_comes_out_as_it_is() -> None:
    @tool
    def fail() -> None:
        raise ConnectionError("no line")

    with pytest.raises(ConnectionError, match="no line"):
        await fail.execute({})


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "greet: name: missing; the tool needs it"),
        ({"name": 1}, "greet: name: expected text, found 1"),
        ({"name": "a", "nme": 1}, "greet: nme: unknown input; did you mean 'name'?"),
        ({"mark": "four"}, "greet: name: missing; the tool needs it; mark: "),
    ],
)
async def test_inputs_that_do_not_fit_are_named(inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(ToolInputError) as caught:
        await greet.execute(inputs)
    assert str(caught.value).startswith(message)
    assert isinstance(caught.value, UsageError)


async def test_an_input_deep_inside_is_named_with_its_place() -> None:
    @tool
    def count(rows: list[dict[str, int]]) -> int:
        return len(rows)

    with pytest.raises(ToolInputError, match=r"^count: rows\[1\]\.a: expected a whole number"):
        await count.execute({"rows": [{}, {"a": "x"}]})


def test_the_spec_comes_from_the_signature() -> None:
    spec = greet.spec
    assert (spec.name, spec.category) == ("greet", ToolCategory.UTILITY)
    assert spec.description == "Greet somebody kindly."
    assert spec.input_schema["required"] == ["name"]
    assert spec.input_schema["additionalProperties"] is False
    assert spec.input_schema["properties"]["mark"]["maxLength"] == 3
    assert spec.output_schema["properties"] == {"text": {"title": "Text", "type": "string"}}


def test_name_category_and_version_can_be_given() -> None:
    assert (loud.spec.name, loud.spec.category) == ("shout", ToolCategory.TRANSFORM)
    assert tool_version(loud) == "2"
    assert "context" not in loud.spec.input_schema["properties"]


def test_the_output_schema_leaves_a_reported_failure_out() -> None:
    assert judge.spec.output_schema == greet.spec.output_schema


def test_a_function_without_a_docstring_is_described_by_its_name() -> None:
    assert loud.spec.description == "shout"


def test_without_a_version_the_source_stands_for_the_function() -> None:
    assert tool_version(greet).startswith("source-")
    assert tool_version(greet) != tool_version(judge)


def test_a_template_input_says_so_in_the_schema() -> None:
    @tool
    def fill(template: Annotated[TemplateText, Field(description="Jinja.")] = "") -> str:
        return template

    properties = fill.spec.input_schema["properties"]
    assert properties["template"]["format"] == "jinja"
    assert properties["template"]["description"] == "Jinja."


async def test_inputs_may_have_names_that_pydantic_once_used() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        @tool
        def keep(json: str, copy: int, schema: str) -> str:
            return f"{json}{copy}{schema}"

    assert (await keep.execute({"json": "a", "copy": 1, "schema": "b"})).output == "a1b"


def test_a_return_type_without_a_schema_says_nothing() -> None:
    @tool
    def make() -> Callable[[], int]:
        return lambda: 1

    assert make.spec.output_schema == {}


def _untyped(text) -> None:  # type: ignore[no-untyped-def]  # pyright: ignore
    pass


untyped: Callable[..., Any] = _untyped  # pyright: ignore[reportUnknownVariableType]


def starred(*texts: str) -> None: ...


def keywords(**texts: str) -> None: ...


def positional(text: str, /) -> None: ...


def private(_text: str) -> None: ...


def _unknown(text: Nowhere) -> None: ...  # noqa: F821  # pyright: ignore


unknown: Callable[..., Any] = _unknown  # pyright: ignore[reportUnknownVariableType]


def callback(text: Callable[[], int]) -> None: ...


class Opaque: ...


def opaque(text: Opaque) -> None: ...


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (untyped, "tool '_untyped': argument 'text' needs a type annotation"),
        (starred, "tool 'starred': argument 'texts' cannot be passed by name"),
        (keywords, "tool 'keywords': argument 'texts' cannot be passed by name"),
        (positional, "tool 'positional': argument 'text' cannot be passed by name"),
        (private, "tool 'private': argument '_text' cannot be an input; rename it"),
        (unknown, "tool '_unknown': an annotation names 'Nowhere', which the function's module"),
        (callback, "tool 'callback': an argument has a type without a JSON Schema: "),
        (opaque, "tool 'opaque': an argument has a type without a JSON Schema: "),
    ],
)
def test_a_function_that_cannot_be_a_tool_is_refused(function: Callable[..., Any], message: str) -> None:
    with pytest.raises(ToolDefinitionError) as caught:
        tool(function)
    assert str(caught.value).startswith(message)
