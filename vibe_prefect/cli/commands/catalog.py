"""`vibe-prefect tools` and `schema`: the tools that plans can use, and the form of plan files."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from rich.text import Text

from vibe_prefect.cli.display.console import Screen, out, write
from vibe_prefect.cli.display.lines import columns, one_line
from vibe_prefect.cli.exits import ExitCode
from vibe_prefect.cli.reading.toolbox import command_registry
from vibe_prefect.errors import UsageError, did_you_mean
from vibe_prefect.plan.inputs.declared import type_words
from vibe_prefect.tools.base import ToolCategory, ToolSpec
from vibe_prefect.tools.registry import HOW_TO_ADD, ToolRegistry

SCHEMA_HINT = (
    "A plan file of vibe-prefect. In editors with the YAML language server, save this schema as "
    "plan.schema.json beside the plan and begin the plan with: "
    "# yaml-language-server: $schema=plan.schema.json"
)
_PLACEHOLDERS: dict[str, Any] = {
    "string": "...",
    "integer": 1,
    "number": 1.0,
    "boolean": True,
    "array": ["..."],
    "object": {},
}


def schema(*, of_outputs: bool) -> int:
    """Print the JSON Schema of plan files, or of what commands print."""
    from vibe_prefect.cli.display.documents import outputs_schema

    write(_json(outputs_schema() if of_outputs else _plan_schema()))
    return ExitCode.COMPLETED


def _plan_schema() -> dict[str, Any]:
    from vibe_prefect.cli.display.documents import DIALECT
    from vibe_prefect.core.models import WorkflowPlan
    from vibe_prefect.plan.reading.parts import with_parts_schema

    plan_schema = WorkflowPlan.model_json_schema()
    plan_schema["$defs"]["WorkflowNode"] = with_parts_schema(plan_schema["$defs"]["WorkflowNode"])
    return {
        "$schema": DIALECT,
        **plan_schema,
        "title": "vibe-prefect plan",
        "$comment": SCHEMA_HINT,
    }


def tools(name: str | None, *, as_json: bool) -> int:
    """Print the registered tools, or a single tool in detail."""
    registry = command_registry()
    if as_json:
        documents = tool_documents(registry, name)
        write(_json(documents if name is None else documents[0]))
    elif name is None:
        _print_table(out(), registry.list_tools())
    else:
        _print_tool(out(), _named(registry, name))
    return ExitCode.COMPLETED


def tool_documents(registry: ToolRegistry, name: str | None) -> list[dict[str, Any]]:
    """Return the registered tools as JSON data, or a single tool.

    Raises:
        UsageError: There is no such tool.
    """
    specs = registry.list_tools() if name is None else [_named(registry, name)]
    return [_as_data(spec) for spec in specs]


def _named(registry: ToolRegistry, name: str) -> ToolSpec:
    tool = registry.get(name)
    if tool is None:
        hint = did_you_mean(name, registry) or f"; registered tools: {', '.join(registry)}; {HOW_TO_ADD}"
        raise UsageError(f"unknown tool {name!r}{hint}")
    return tool.spec


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n"


def _as_data(spec: ToolSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "category": ToolCategory(spec.category).value,
        "description": spec.description,
        "input_schema": spec.input_schema,
        "output_schema": spec.output_schema,
        "examples": spec.examples,
    }


def _print_table(screen: Screen, specs: Sequence[ToolSpec]) -> None:
    heading = [Text(word, "dim") for word in ("tool", "category", "what it does")]
    rows = [
        [
            Text(one_line(spec.name), "bold"),
            Text(ToolCategory(spec.category).value, "cyan"),
            Text(one_line(spec.description)),
        ]
        for spec in specs
    ]
    for line in columns([heading, *rows], screen.limit):
        screen.say(line)
    screen.say()
    screen.say("vibe-prefect tools NAME shows a tool's inputs and an example.", "dim")


def _print_tool(screen: Screen, spec: ToolSpec) -> None:
    category = ToolCategory(spec.category).value
    screen.say(Text.assemble((one_line(spec.name), "bold"), "  ", (category, "cyan")))
    screen.say(one_line(spec.description))
    properties = cast("dict[str, dict[str, Any]]", spec.input_schema.get("properties", {}))
    required = set(cast("list[str]", spec.input_schema.get("required", [])))
    screen.say()
    screen.say("inputs" if properties else "no inputs", "dim")
    rows = [_input_row(name, description, name in required) for name, description in properties.items()]
    for name, line in zip(properties, columns(rows, None), strict=True):
        screen.say(line)
        if description := one_line(str(properties[name].get("description", ""))):
            screen.console.print(Text(f"      {description}", "dim"), soft_wrap=not screen.is_terminal)
    screen.say()
    screen.say("in a plan", "dim")
    screen.say(_snippet(spec).rstrip())


def _input_row(name: str, about: Mapping[str, Any], needed: bool) -> list[Text]:
    default = "required" if needed else f"default {one_line(json.dumps(about.get('default')))}"
    return [
        Text(f"  {one_line(name)}", "bold"),
        Text(one_line(type_words(about)), "cyan"),
        Text(default, "yellow" if needed else ""),
    ]


def _snippet(spec: ToolSpec) -> str:
    """Return a node that uses the tool, as YAML."""
    from ruamel.yaml import YAML

    inputs = spec.examples[0] if spec.examples else _minimal_inputs(spec.input_schema)
    node = {
        "id": spec.name.replace("_", "-"),
        "type": "validate" if ToolCategory(spec.category) is ToolCategory.ANALYSIS else "generate",
        "description": spec.description,
        "parameters": {"tool": spec.name} | ({"tool_inputs": inputs} if inputs else {}),
    }
    yaml = YAML(typ="rt")
    yaml.width = 1000
    yaml.indent(mapping=2, sequence=4, offset=2)
    text = io.StringIO()
    cast("Any", yaml).dump([node], text)
    return text.getvalue()


def _minimal_inputs(input_schema: Mapping[str, Any]) -> dict[str, Any]:
    properties = cast("dict[str, dict[str, Any]]", input_schema.get("properties", {}))
    required = cast("list[str]", input_schema.get("required", []))
    return {name: _PLACEHOLDERS.get(type_words(properties.get(name, {})), "...") for name in required}
