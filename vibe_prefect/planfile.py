"""Plan files: YAML or JSON in, a `WorkflowPlan` and the places of its values out.

YAML is read as a tree of nodes with their lines and columns, then turned into plain data: only text, numbers, booleans
and null, so a date stays the text that was written. JSON is read directly; its places are looked up only when there is
something to report.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import orjson
from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from vibe_prefect.errors import PlanError, Position, Problem, did_you_mean, shorten
from vibe_prefect.graph import DataPath, PlanLimits, check_graph, dotted
from vibe_prefect.models import NodePolicy, Vibe, WorkflowNode, WorkflowNodeType, WorkflowPlan
from vibe_prefect.regular_files import read_regular
from vibe_prefect.wording import finding

MAX_FILE_BYTES = 50_000_000
"""The largest plan file that is read."""

MAX_VALUES = 2_000_000
"""How many values a file may hold once its YAML aliases are followed."""

MAX_PATH = 500
"""How many keys and indices may lead to a value."""

TOO_DEEP = f"nested too deeply to be a plan; nodes may be nested {PlanLimits().max_depth} deep"

_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True)
class PlanFile:
    """A plan file's text and data."""

    name: str
    """The path as it was given."""

    text: str
    """Its content."""

    data: Any = field(repr=False)
    """Its content as plain data."""

    def position(self, path: DataPath) -> Position | None:
        """Return where the value at a path stands, or the nearest value around it."""
        places = self._places
        while path and path not in places:
            path = path[:-1]
        line, column = places.get(path, (0, 0))
        return Position(self.name, line + 1, column + 1)

    @cached_property
    def _places(self) -> dict[DataPath, tuple[int, int]]:
        return _Reader(self.name, self.text).places()


@dataclass(frozen=True)
class LoadedPlan:
    """A plan and the file that it came from."""

    plan: WorkflowPlan
    """The plan."""

    source: PlanFile
    """Where its values stand."""


def load_plan(path: str | Path, limits: PlanLimits | None = None) -> LoadedPlan:
    """Read a plan file: `.json` as JSON, anything else as YAML.

    Args:
        path: The file.
        limits: How large the plan may be.

    Raises:
        PlanError: The file cannot be read, is not YAML or JSON, or its values do not have a plan's shape; the error
            then names the structural problems of the rest as well.
    """
    name = str(path)
    text = _read(Path(path), name)
    data = _json_data(name, text) if name.endswith(".json") else _Reader(name, text).data()
    return parse_plan(PlanFile(name, text, data), limits)


def read_plan(name: str, text: str, limits: PlanLimits | None = None) -> LoadedPlan:
    """Turn a text, YAML or JSON, into a plan; see `load_plan` for errors.

    Args:
        name: What messages call the text.
        text: The text.
        limits: How large the plan may be.
    """
    return parse_plan(PlanFile(name, text, _Reader(name, text).data()), limits)


def parse_plan(source: PlanFile, limits: PlanLimits | None = None) -> LoadedPlan:
    """Turn a plan file's data into a plan; see `load_plan` for errors."""
    limits = limits or PlanLimits()
    data = source.data
    if not isinstance(data, dict):
        raise _file_error(source.name, f"expected a plan (a mapping with 'id'), found {_kind(data)}")
    _check_depth(source, cast("dict[str, Any]", data), limits)
    try:
        return LoadedPlan(WorkflowPlan.model_validate(data), source)
    except ValidationError as error:
        raise PlanError(_shape_problems(source, error, limits), source.name) from None


def _read(path: Path, name: str) -> str:
    try:
        content = read_regular(path, MAX_FILE_BYTES)
        if len(content) > MAX_FILE_BYTES:
            raise _file_error(name, f"{path.stat().st_size:,} bytes; a plan file holds at most {MAX_FILE_BYTES:,}")
        return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise _file_error(name, f"not UTF-8 text: byte {error.start} is {error.object[error.start]:#04x}") from None
    except OSError as error:
        raise _file_error(name, f"cannot be read: {error.strerror or error}") from None


def _json_data(name: str, text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if any(word in str(error).lower() for word in ("recursion", "depth limit")):
            raise _file_error(name, TOO_DEEP) from None
        raise PlanError([Problem(f"not JSON: {error.msg}", None, None, _at(name, error.lineno, error.colno))], name)  # noqa: B904


def _at(name: str, line: int, column: int) -> Position:
    return Position(name, line, column)


def _file_error(name: str, message: str) -> PlanError:
    return PlanError([Problem(message, None, None, None)], name)


def _kind(value: object) -> str:
    if value is None:
        return "nothing"
    names: dict[type, str] = {list: "a list", dict: "a mapping", str: "text", bool: "a truth value"}
    return names.get(type(value), "a number")


def _check_depth(source: PlanFile, data: Mapping[str, Any], limits: PlanLimits) -> None:
    """Refuse a tree that is nested too deeply before pydantic walks it, since pydantic's own limit says less."""
    stack: list[tuple[Any, int, DataPath]] = [(data.get("root_nodes"), 1, ("root_nodes",))]
    while stack:
        nodes, depth, path = stack.pop()
        if not isinstance(nodes, list) or not nodes:
            continue
        if depth > limits.max_depth:
            message = f"nested more than {limits.max_depth} levels deep; flatten the tree and use dependencies"
            raise PlanError([Problem(message, _id_of(source.data, path), None, source.position(path))], source.name)
        for index, node in enumerate(cast("list[Any]", nodes)):
            if isinstance(node, Mapping):
                stack.append((cast("Any", node).get("children"), depth + 1, (*path, index, "children")))


def _shape_problems(source: PlanFile, error: ValidationError, limits: PlanLimits) -> list[Problem]:
    problems = [_shape_problem(source, dict(detail)) for detail in error.errors(include_url=False)]
    repaired = _repaired(source, error)
    if repaired is not None:
        problems += check_graph(repaired, source, limits)[1]
    return sorted(problems, key=lambda problem: problem.position or Position(source.name, 0, 0))


def _shape_problem(source: PlanFile, detail: dict[str, Any]) -> Problem:
    path = cast("DataPath", detail["loc"])
    owner = _owner(path)
    node_id = _id_of(source.data, path)
    field = dotted(path[len(owner) :]) if node_id is not None and path != owner else dotted(path)
    return Problem(_shape_message(path, detail), node_id, field, source.position(path))


def _shape_message(path: DataPath, detail: dict[str, Any]) -> str:
    match detail["type"]:
        case "missing":
            return "missing; it is required"
        case "extra_forbidden":
            known = _model_at(path).model_fields
            return f"unknown field{did_you_mean(str(path[-1]), known) or '; known fields: ' + ', '.join(known)}"
        case "enum":
            known = [kind.value for kind in WorkflowNodeType]
            found = detail["input"]
            hint = did_you_mean(found, known) if isinstance(found, str) else ""
            return f"expected one of {', '.join(known)}, found {shorten(found)}{hint}"
        case _:
            return finding(detail)


def _model_at(path: DataPath) -> type[BaseModel]:
    """Return the model whose field the path's last part should have been."""
    if len(path) >= 2 and path[-2] == "policy":
        return NodePolicy
    if path[:-1] == ("source_vibe",):
        return Vibe
    return WorkflowNode if len(path) > 1 else WorkflowPlan


def _owner(path: DataPath) -> DataPath:
    """Return the path of the innermost node that a path leads into; empty for the plan itself."""
    end = 0
    while end + 1 < len(path) and path[end] in ("root_nodes", "children") and isinstance(path[end + 1], int):
        end += 2
    return path[:end]


def _id_of(data: Any, path: DataPath) -> str | None:
    owner = _owner(path)
    for part in owner:
        data = data[part]
    found = cast("dict[str, Any]", data).get("id") if owner and isinstance(data, Mapping) else None
    return found if isinstance(found, str) else None


def _repaired(source: PlanFile, error: ValidationError) -> WorkflowPlan | None:
    """Return the plan with each misshapen value taken out or replaced, so that the rest can be checked too."""
    data = orjson.loads(orjson.dumps(source.data, default=str))
    for detail in error.errors(include_url=False):
        _repair(data, detail["loc"])
    try:
        return WorkflowPlan.model_validate(data)
    except ValidationError:
        return None


def _repair(data: Any, path: DataPath) -> None:
    for part in path[:-1]:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return
    last = path[-1]
    if isinstance(data, dict):
        values = cast("dict[str | int, Any]", data)
        placeholders: dict[str | int, Any] = {
            "type": "composite",
            "description": "",
            "source_vibe": {"description": ""},
        }
        values.pop(last, None)
        if last in placeholders:
            values[last] = placeholders[last]


def _plain(kind: str, text: str) -> Any:
    """Return the value of a YAML 1.2 scalar; anything but numbers, truth values and null stays text."""
    match kind:
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int":
            digits = text.replace("_", "")
            return int(digits, 0) if digits.lstrip("+-")[:2].lower() in ("0x", "0o", "0b") else int(digits)
        case "float":
            return float(text.replace("_", "").replace(".inf", "inf").replace(".nan", "nan"))
        case _:
            return text


class _Reader:
    """A YAML text as plain data and places. The walk keeps its own stack, so depth costs none of Python's."""

    def __init__(self, name: str, text: str) -> None:
        self._name = name
        self._text = text
        self._count = 0

    def data(self) -> Any:
        root = self._compose()
        holder: list[Any] = [None]
        self._walk(root, holder, {})
        return holder[0]

    def places(self) -> dict[DataPath, tuple[int, int]]:
        places: dict[DataPath, tuple[int, int]] = {}
        root = self._compose()
        if root is not None:
            self._walk(root, [None], places)
        return places

    def _compose(self) -> Any:
        yaml = YAML(typ="safe", pure=True)
        try:
            return cast("Any", yaml).compose(io.StringIO(self._text))
        except MarkedYAMLError as error:
            raise self._marked(error) from None
        except YAMLError as error:
            raise _file_error(self._name, f"not YAML: {error}") from None
        except RecursionError:
            raise _file_error(self._name, TOO_DEEP) from None

    def _marked(self, error: MarkedYAMLError) -> PlanError:
        found = cast("Any", error)
        mark = found.problem_mark or found.context_mark
        words = " ".join(part for part in (found.context, found.problem) if part)
        place = _at(self._name, mark.line + 1, mark.column + 1) if mark else None
        return PlanError([Problem(f"not YAML: {words}", None, None, place)], self._name)

    def _walk(self, root: Any, holder: Any, places: dict[DataPath, tuple[int, int]]) -> None:
        stack: list[tuple[Any, Any, str | int, DataPath]] = [(root, holder, 0, ())]
        while stack:
            node, target, key, path = stack.pop()
            self._count += 1
            if len(path) > MAX_PATH:
                raise self._error(node, f"{TOO_DEEP} (does an alias stand within what it names?)")
            if self._count > MAX_VALUES:
                raise self._error(node, f"more than {MAX_VALUES:,} values; do aliases (*name) multiply?")
            places.setdefault(path, (node.start_mark.line, node.start_mark.column) if node is not None else (0, 0))
            match node:
                case MappingNode():
                    target[key] = {}
                    stack.extend(self._items(node, target[key], path))
                case SequenceNode():
                    target[key] = [None] * len(cast("Any", node).value)
                    items = enumerate(cast("Any", node).value)
                    stack.extend((item, target[key], index, (*path, index)) for index, item in items)
                case _:
                    target[key] = self._scalar(node)

    def _items(self, node: Any, target: dict[str, Any], path: DataPath) -> list[tuple[Any, Any, str | int, DataPath]]:
        items: list[tuple[Any, Any, str | int, DataPath]] = []
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                raise self._error(key_node, "a key must be plain text")
            key = str(cast("Any", key_node).value)
            if key == "<<":
                raise self._error(key_node, "merge keys (<<) are not supported; write the values out")
            if key in target:
                raise self._error(key_node, f"the key {key!r} stands here twice")
            target[key] = None
            items.append((value_node, target, key, (*path, key)))
        return items

    def _scalar(self, node: Any) -> Any:
        if node is None:
            return None
        try:
            return _plain(str(node.tag).removeprefix(_TAG), node.value)
        except ValueError:
            raise self._error(node, f"not a number: {node.value!r}") from None

    def _error(self, node: Any, message: str) -> PlanError:
        mark = node.start_mark
        return PlanError([Problem(message, None, None, _at(self._name, mark.line + 1, mark.column + 1))], self._name)
