"""`@tool`: a plain function with typed arguments becomes a tool."""

from __future__ import annotations

import importlib
import inspect
import sys
import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import partial
from pickle import PicklingError
from types import UnionType
from typing import Any, Union, cast, get_args, get_origin, get_type_hints, overload

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, create_model
from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from vibe_prefect.errors import ToolDefinitionError, ToolInputError
from vibe_prefect.tools.base import (
    TRAITS,
    BaseTool,
    InputNames,
    ToolCategory,
    ToolContext,
    ToolResult,
    ToolSpec,
    input_problems,
    refuse_trait,
)

CONTEXT = "context"
"""The argument's name by which a function asks for the `ToolContext`."""


class FunctionTool(BaseTool):
    """A tool around a function: its arguments are the inputs, what it returns is the output.

    An argument named `context` receives the `ToolContext` and is no input. A sync function runs in a thread. A
    function may return a `ToolResult` to report failure or metadata; an exception fails the node as it is.

    Its attributes are the fields of `ToolTraits`; setting any other is a `ToolDefinitionError`.
    """

    def __init__(self, function: Callable[..., Any], *, name: str, category: ToolCategory, **traits: Any) -> None:
        self.__name__ = name
        self.__doc__ = function.__doc__
        hints, parameters = _hints(function, name), inspect.signature(function).parameters
        self._inputs = _input_model(parameters, hints, name)
        self._function = function
        self._wants_context = CONTEXT in parameters
        self._spec = _function_spec(function, name, category, self._inputs, hints.get("return", Any))
        self.state(source_object=function, input_model=self._inputs)
        self.state(**traits)

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and not hasattr(type(self), name):
            refuse_trait(name, self.__name__)
        super().__setattr__(name, value)

    def state(self, **traits: Any) -> None:
        """State traits of the tool, the fields of `ToolTraits`.

        Raises:
            ToolDefinitionError: There is no such trait.
        """
        for name, value in traits.items():
            if name not in TRAITS:
                refuse_trait(name, self.__name__)
            setattr(self, name, value)

    @property
    def spec(self) -> ToolSpec:
        """Specification of the tool."""
        return self._spec

    async def execute(self, inputs: dict[str, Any], context: ToolContext | None = None) -> ToolResult:
        """Check the inputs, call the function and wrap what it returns.

        Raises:
            ToolInputError: The inputs do not fit the function's arguments.
            Exception: Whatever the function raises.
        """
        context = context or ToolContext()
        paths = InputNames.of(self).default_outputs(context.get("node_id", self._spec.name))
        arguments = self._arguments({**paths, **inputs})
        if self._wants_context:
            arguments[CONTEXT] = context
        output = await self._call(arguments)
        return output if isinstance(output, ToolResult) else ToolResult(success=True, output=output)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself, as if it had not been decorated."""
        return self._function(*args, **kwargs)

    def __reduce__(self) -> tuple[Callable[[str, str], Any], tuple[str, str]]:
        """Return the place of the tool in its module, where another process finds it.

        Raises:
            PicklingError: No name at the top of the module is the tool's.
        """
        module = sys.modules.get(self._function.__module__)
        for name, value in vars(module).items() if module is not None else ():
            if value is self:
                return import_value, (self._function.__module__, name)
        raise PicklingError(
            f"the tool {self.__name__!r} has no name at the top of the module {self._function.__module__}"
        )

    def _arguments(self, inputs: dict[str, Any]) -> dict[str, Any]:
        try:
            values = self._inputs.model_validate(inputs)
        except ValidationError:
            problems = [f"{_place(problem.path)}{problem.message}" for problem in input_problems(self, inputs)]
            raise ToolInputError(f"{self._spec.name}: {'; '.join(problems)}") from None
        return {name: getattr(values, name) for name in self._inputs.model_fields}

    async def _call(self, arguments: dict[str, Any]) -> Any:
        if inspect.iscoroutinefunction(self._function):
            return await self._function(**arguments)
        from vibe_prefect.core.user_code import call_in_thread  # with asyncio: reading a plan does not need it

        return await call_in_thread(partial(self._function, **arguments))


@overload
def tool(function: Callable[..., Any], /) -> FunctionTool: ...


@overload
def tool(
    *,
    name: str | None = None,
    category: ToolCategory = ToolCategory.UTILITY,
    version: str | None = None,
    **traits: Any,
) -> Callable[[Callable[..., Any]], FunctionTool]: ...


def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    category: ToolCategory = ToolCategory.UTILITY,
    version: str | None = None,
    **traits: Any,
) -> FunctionTool | Callable[[Callable[..., Any]], FunctionTool]:
    """Make a tool of a function, sync or async, whose arguments have types.

    Args:
        function: The function, when used without parentheses.
        name: What nodes call it; the function's name by default.
        category: What it is about.
        version: Changes when its results do; by default a hash of the function's source stands in.
        **traits: What else is to be known of it, such as `default_policy` or `most_cost`: the fields of `ToolTraits`.

    Raises:
        ToolDefinitionError: An argument has no type, or a type without a JSON Schema; or there is no such trait.
    """

    def wrap(inner: Callable[..., Any]) -> FunctionTool:
        return FunctionTool(inner, name=name or inner.__name__, category=category, version=version, **traits)

    return wrap(function) if function is not None else wrap


def import_value(module: str, name: str) -> Any:
    """Import a module, and return what has a name at its top.

    Raises:
        ImportError: There is no such module.
        AttributeError: The module has no such name.
    """
    return getattr(importlib.import_module(module), name)


def _place(path: tuple[str | int, ...]) -> str:
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return f"{''.join(steps).removeprefix('.')}: " if path else ""


def _input_model(parameters: Mapping[str, inspect.Parameter], hints: Mapping[str, Any], name: str) -> type[BaseModel]:
    fields: dict[str, Any] = {}
    for parameter in parameters.values():
        if parameter.name == CONTEXT:
            continue
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise ToolDefinitionError(f"tool {name!r}: argument {parameter.name!r} cannot be passed by name")
        if parameter.name.startswith("_") or parameter.name == "model_config":
            raise ToolDefinitionError(f"tool {name!r}: argument {parameter.name!r} cannot be an input; rename it")
        if parameter.name not in hints:
            raise ToolDefinitionError(f"tool {name!r}: argument {parameter.name!r} needs a type annotation")
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (hints[parameter.name], default)
    with _describable(name):
        return _model(f"{name}_inputs", fields)


@contextmanager
def _describable(name: str) -> Generator[None]:
    """Refuse types that pydantic cannot describe.

    Raises:
        ToolDefinitionError: An argument has such a type.
    """
    try:
        yield
    except PydanticUserError as error:
        raise ToolDefinitionError(f"tool {name!r}: an argument has a type without a JSON Schema: {error}") from error


def _model(name: str, fields: dict[str, Any]) -> type[BaseModel]:
    with warnings.catch_warnings():  # an input may well be called `json` or `copy`, as old methods of BaseModel are
        warnings.filterwarnings("ignore", message="Field name .* shadows an attribute", category=UserWarning)
        return create_model(name, __config__=ConfigDict(extra="forbid"), **fields)


def _hints(function: Callable[..., Any], name: str) -> dict[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except NameError as error:
        raise ToolDefinitionError(
            f"tool {name!r}: an annotation names {error.name!r}, which the function's module does not define"
        ) from error


def _function_spec(
    function: Callable[..., Any], name: str, category: ToolCategory, inputs: type[BaseModel], output: Any
) -> ToolSpec:
    doc = inspect.getdoc(function) or ""
    with _describable(name):
        input_schema = inputs.model_json_schema()
    return ToolSpec(
        name=name,
        description=" ".join(doc.split("\n\n")[0].split()) or name.replace("_", " "),
        category=category,
        input_schema=input_schema,
        output_schema=_output_schema(_without_result(output)),
    )


class _StatedOutput(GenerateJsonSchema):
    """JSON Schemas of what is returned: a class with named fields has these and no others.

    A class that has subclasses stays open, since an instance of one of them may be returned.
    """

    def typed_dict_schema(self, schema: core_schema.TypedDictSchema) -> JsonSchemaValue:
        """Describe a `TypedDict`."""
        return {"additionalProperties": False, **super().typed_dict_schema(schema)}

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """Describe a pydantic model."""
        return self._closed(super().model_schema(schema), schema["cls"])

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> JsonSchemaValue:
        """Describe a dataclass."""
        return self._closed(super().dataclass_schema(schema), schema["cls"])

    def _closed(self, schema: JsonSchemaValue, cls: type[Any]) -> JsonSchemaValue:
        closes = schema.get("type") == "object" and "properties" in schema and not cls.__subclasses__()
        return {"additionalProperties": False, **schema} if closes else schema


def _output_schema(returned: Any) -> dict[str, Any]:
    if returned is ToolResult:
        return {}
    try:
        return TypeAdapter(returned).json_schema(mode="serialization", schema_generator=_StatedOutput)
    except PydanticUserError:  # a type pydantic cannot describe says nothing about the output
        return {}


def _without_result(returned: Any) -> Any:
    if get_origin(returned) not in (Union, UnionType):
        return returned
    return cast("Any", Union)[tuple(alternative for alternative in get_args(returned) if alternative is not ToolResult)]
