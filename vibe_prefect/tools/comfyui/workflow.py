"""Checks of a ComfyUI workflow, and of the inputs set in it, without a server."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, cast

from vibe_prefect.errors import did_you_mean, shorten
from vibe_prefect.templates.texts import is_template
from vibe_prefect.tools.base import InputProblem
from vibe_prefect.tools.comfyui.endpoint import Workflow

_EDITOR_KEYS = frozenset({"nodes", "links", "last_node_id", "last_link_id"})
"""Top-level keys of the editor's own format, which the API's never has."""

_BODY_KEYS = ("prompt", "output")
"""Keys under which requests, and images that ComfyUI saved, hold a workflow for the API."""


@dataclass(frozen=True, slots=True)
class Setting:
    """An input that a plan sets in a workflow."""

    node: str
    """Id of the workflow's node."""

    name: str
    """Name of the input; it may hold dots."""

    value: Any
    """Value to set."""


def workflow_problems(
    workflow: object,
    inputs: Mapping[str, Any],
    outputs: Collection[str] = (),
    allowed: Collection[str] | None = None,
    place: str = "workflow",
) -> list[InputProblem]:
    """Return all that is wrong with a workflow and with what is set in it.

    Args:
        workflow: The workflow.
        inputs: What is set, as the plan writes it.
        outputs: Ids of the nodes whose outputs are wanted.
        allowed: The node classes that the operator allows; `None` for all.
        place: The tool's input that the workflow is from.
    """
    if not isinstance(workflow, dict):
        return [InputProblem((place,), f"{place} holds no workflow but {shorten(workflow)}")]
    nodes = cast("Workflow", workflow)
    if not nodes:
        return [InputProblem((place,), "the workflow has no nodes")]
    shape = [InputProblem((place,), problem) for problem in _shape_problems(nodes)]
    if shape:
        return shape
    return [
        *(InputProblem((place,), problem) for problem in _link_problems(nodes)),
        *(InputProblem((place,), problem) for problem in _class_problems(nodes, allowed)),
        *(InputProblem(("inputs",), problem) for problem in _setting_problems(nodes, inputs)),
        *(
            InputProblem(("outputs",), f"outputs name node {id!r}, which the workflow does not have{_hint(id, nodes)}")
            for id in outputs
            if id not in nodes and not is_template(id)
        ),
    ]


def settings_of(workflow: Workflow, inputs: Mapping[str, Any]) -> Iterator[Setting]:
    """Yield what is set: `{"6.text": "a cat"}`, or `{"6": {"text": "a cat"}}`.

    Ids may hold colons and dots, names dots: the id is the longest beginning that is one, and has the input.
    """
    for name, value in inputs.items():
        if name in workflow and isinstance(value, Mapping):
            yield from (Setting(name, field, item) for field, item in cast("Mapping[str, Any]", value).items())
        else:
            yield Setting(*_split(workflow, name), value)


def filled(workflow: Workflow, inputs: Mapping[str, Any]) -> Workflow:
    """Return a copy of a workflow with inputs set; both were checked before."""
    copy = deepcopy(workflow)
    for setting in settings_of(workflow, inputs):
        copy[setting.node]["inputs"][setting.name] = setting.value
    return copy


def linked(value: object) -> str | None:
    """Return the id of the node that an input is linked to, `["4", 0]`; `None` for a plain value."""
    match value:
        case [str(id), int() | float()]:
            return id
        case _:
            return None


def _shape_problems(workflow: Workflow) -> Iterator[str]:
    if _EDITOR_KEYS & workflow.keys() and isinstance(workflow.get("nodes", []), list):
        yield "the workflow is in the editor's format; export it by 'Export (API)'"
        return
    body = next((key for key in _BODY_KEYS if _is_workflow(workflow.get(key))), None)
    if body is not None:
        yield f"what is given holds the workflow under {body!r}; give that part alone"
        return
    for id, node in workflow.items():
        if not _is_node(node):
            yield f"node {id!r} of the workflow has no class_type and inputs, but is {shorten(node)}"


def _is_workflow(value: object) -> bool:
    nodes = list(cast("dict[str, Any]", value).values()) if isinstance(value, dict) else []
    return bool(nodes) and all(map(_is_node, nodes))


def _is_node(node: object) -> bool:
    if not isinstance(node, dict):
        return False
    fields = cast("dict[str, Any]", node)
    return isinstance(fields.get("class_type"), str) and isinstance(fields.get("inputs"), dict)


def _link_problems(workflow: Workflow) -> Iterator[str]:
    for id, node in workflow.items():
        for name, value in node["inputs"].items():
            target = linked(value)
            if target is not None and target not in workflow and not is_template(target):
                reason = f"node {id!r}: input {name!r} is linked to node {target!r}"
                yield f"{reason}, which the workflow does not have{_hint(target, workflow)}"


def _class_problems(workflow: Workflow, allowed: Collection[str] | None) -> Iterator[str]:
    for id, node in workflow.items():
        if allowed is not None and node["class_type"] not in allowed and not is_template(node["class_type"]):
            words = ", ".join(allowed) or "no class at all"
            yield f"node {id!r} is a {node['class_type']}; the operator allows {words}"


def _setting_problems(workflow: Workflow, inputs: Mapping[str, Any]) -> Iterator[str]:
    settings: set[tuple[str, str]] = set()
    for name, value in inputs.items():
        if is_template(value) and name in workflow:
            continue
        if name in workflow and not isinstance(value, Mapping) and "." not in name:
            yield f"inputs: {name!r} is a node: name its input, such as {_example(workflow, name)!r}"
            continue
        for setting in settings_of(workflow, {name: value}):
            yield from _setting_problem(workflow, name, setting)
            if (setting.node, setting.name) in settings:
                yield f"inputs: {setting.name!r} of node {setting.node!r} is set twice"
            settings.add((setting.node, setting.name))


def _setting_problem(workflow: Workflow, name: str, setting: Setting) -> Iterator[str]:
    if setting.node not in workflow:
        reason = f"inputs: {name!r} names node {setting.node!r}, which the workflow does not have"
        yield f"{reason}{_hint(setting.node, workflow)}"
    elif setting.name not in workflow[setting.node]["inputs"]:
        input_names = workflow[setting.node]["inputs"]
        reason = f"inputs: {name!r} names input {setting.name!r}, which node {setting.node!r} does not have"
        yield f"{reason}{_hint(setting.name, input_names)}"


def _example(workflow: Workflow, id: str) -> str:
    return f"{id}.{next(iter(workflow[id]['inputs']), 'text')}"


def _split(workflow: Workflow, name: str) -> tuple[str, str]:
    parts = [(name[:index], name[index + 1 :]) for index, letter in enumerate(name) if letter == "."]
    node_fields = [(id, field) for id, field in reversed(parts) if id in workflow]
    fitting = (pair for pair in node_fields if pair[1] in workflow[pair[0]]["inputs"])
    return next(fitting, None) or next(iter(node_fields), None) or (parts[0] if parts else (name, ""))


def _hint(word: str, names: Collection[str]) -> str:
    return did_you_mean(word, names) or f"; there are {', '.join(names) or 'none'}"
