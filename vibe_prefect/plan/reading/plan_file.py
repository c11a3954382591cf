"""Plan files: YAML or JSON in, a `WorkflowPlan` and the places of its values out.

A text that is JSON is read as JSON whatever its name, any other as YAML; both obey the same rules. Only text, numbers,
booleans and null come out, so a date stays the text that was written. What is wrong with single values is collected,
and the rest of the plan is checked all the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

import orjson
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from vibe_prefect.core.models import (
    BestOf,
    NodePolicy,
    OnError,
    Vibe,
    WorkflowNode,
    WorkflowNodeType,
    WorkflowPlan,
    field_names,
)
from vibe_prefect.core.plan_tree import DataPath, data_nodes, dotted
from vibe_prefect.errors import Finding, PlanError, Position, Problem, did_you_mean, shorten
from vibe_prefect.plan.graph import PlanLimits, check_graph, too_deep
from vibe_prefect.plan.reading.repair import Repaired, owner_of, repair
from vibe_prefect.plan.reading.source_text import (
    TOO_DEEP,
    Fault,
    TextError,
    Tree,
    compose_json,
    compose_yaml,
    read_tree,
)
from vibe_prefect.text.encodings import marked_codec
from vibe_prefect.text.pydantic_errors import advised_finding
from vibe_prefect.text.regular_files import read_regular

MAX_FILE_BYTES = 50_000_000
"""The largest plan file that is read."""


@dataclass(frozen=True)
class PlanFile:
    """A plan's text and data."""

    name: str
    """The path as it was given."""

    text: str
    """Its content; empty where there are data without a text."""

    data: Any = field(repr=False)
    """Its content as plain data."""

    form: Literal["json", "yaml"] = "yaml"
    """Format of the text."""

    faults: tuple[Fault, ...] = ()
    """Values that could not be read as they stand."""

    def position(self, path: DataPath) -> Position | None:
        """Return where the value at a path stands, or the nearest value around it; `None` without a text."""
        if not self.text:
            return None
        places = self._places
        while path and path not in places:
            path = path[:-1]
        line, column = places.get(path, (0, 0))
        return Position(self.name, line + 1, column + 1)

    def position_of(self, fault: Fault) -> Position | None:
        """Return where a value stands that could not be read."""
        at = fault.at
        return self.position(fault.path) if at is None else Position(self.name, at[0] + 1, at[1] + 1)

    @cached_property
    def _places(self) -> Mapping[DataPath, tuple[int, int]]:
        return read_tree(compose_json(self.text) if self.form == "json" else compose_yaml(self.text)).places


@dataclass(frozen=True)
class LoadedPlan:
    """A plan and the file that it came from."""

    plan: WorkflowPlan
    """The plan."""

    source: PlanFile
    """Places of its values."""


@dataclass(frozen=True)
class PlanPart:
    """Readable part of a plan whose values do not all have a plan's shape."""

    repaired: Repaired
    """The plan with placeholders, and what they leave open."""

    source: PlanFile
    """Places of its values."""

    problems: tuple[Problem, ...]
    """Problems with the shape of its values."""


class PlanShapeError(PlanError):
    """A plan whose values do not all have a plan's shape."""

    part: PlanPart | None = None
    """Readable part of the plan; `vibe_prefect.plan.compiler.whole_error` checks it further. Lost in pickling."""


def load_plan(path: str | Path, limits: PlanLimits | None = None) -> LoadedPlan:
    """Read a plan file: `.json` as JSON, anything else as JSON or YAML.

    Args:
        path: The file.
        limits: How large the plan may be.

    Raises:
        PlanError: The file cannot be read, is not YAML or JSON, or its values do not have a plan's shape; the error
            then names the structural problems of the rest as well.
    """
    name = str(path)
    return read_plan(name, read_text(Path(path), name), limits)


def read_plan(name: str, text: str, limits: PlanLimits | None = None) -> LoadedPlan:
    """Turn a text, YAML or JSON, into a plan; see `load_plan` for errors.

    Args:
        name: What messages call the text. A name that ends with `.json` makes it JSON in any case.
        text: The text.
        limits: How large the plan may be.
    """
    return parse_plan(read_source(name, text), limits)


def read_source(name: str, text: str) -> PlanFile:
    """Read a text, YAML or JSON, as data and their places; see `read_plan` for arguments and errors."""
    text = text.removeprefix("\ufeff")
    try:
        return _json_file(name, text) or _yaml_file(name, text)
    except TextError as error:
        position = None if error.line is None else Position(name, error.line + 1, error.column + 1)
        raise PlanError([Problem(error.message, None, None, position, error.hint)], name) from None
    except RecursionError:
        raise _file_error(name, TOO_DEEP) from None


def plan_of_data(data: Mapping[str, Any]) -> LoadedPlan:
    """Turn a plan's data, as a form or a program gives them, into a plan; see `load_plan` for errors.

    Args:
        data: The data; there are no lines in messages on them.
    """
    id = data.get("id")
    name = id if isinstance(id, str) else ""
    faults: tuple[Fault, ...] = ()
    values: Any = dict(data)
    if not _is_regular(values):
        try:
            tree = read_tree(compose_json(json.dumps(values)))
        except TextError as error:
            raise _file_error(name, error.message) from None
        except RecursionError:
            raise _file_error(name, TOO_DEEP) from None
        except (TypeError, ValueError):  # values that no text holds, such as models: pydantic knows what to do
            tree = Tree(values, {}, ())
        values, faults = tree.data, tuple(Fault(fault.path, fault.message, hint=fault.hint) for fault in tree.faults)
    return parse_plan(PlanFile(name, "", values, "json", faults))


def parse_plan(source: PlanFile, limits: PlanLimits | None = None) -> LoadedPlan:
    """Turn a plan file's data into a plan; see `load_plan` for errors."""
    limits = limits or PlanLimits()
    data = source.data
    problems = [_fault_problem(source, fault) for fault in source.faults]
    if not isinstance(data, dict):
        not_a_plan = Problem(f"expected a plan (a mapping with 'id'), found {_kind(data)}")
        raise PlanError(problems or [not_a_plan], source.name)
    _check_depth(source, cast("dict[str, Any]", data), limits)
    details: list[dict[str, Any]] = []
    try:
        plan = WorkflowPlan.model_validate(data)
        if not problems:
            return LoadedPlan(plan, source)
    except ValidationError as error:
        details = [dict(detail) for detail in error.errors(include_url=False)]
    fault_paths = {fault.path for fault in source.faults}
    shape = [_shape_problem(source, detail) for detail in details if not _follows(detail, fault_paths)]
    raise _shape_error(source, [*problems, *shape], [detail["loc"] for detail in details], limits)


def _is_regular(data: Any) -> bool:
    """Tell whether JSON holds data as they are: numbers of 64 bits, finite, no half characters, not too deep."""
    try:
        encoded = orjson.dumps(data)
        from_json(encoded)  # takes `MAX_DEPTH` levels
    except (TypeError, ValueError):
        return False
    return b"null" not in encoded or orjson.loads(encoded) == data  # what is not finite is written as null


def _json_file(name: str, text: str) -> PlanFile | None:
    """Read a JSON text; `None` where the text is not JSON and need not be."""
    required = name.endswith(".json")
    if not required and not text.lstrip().startswith("{"):
        return None
    ambiguous: list[object] = []

    def paired(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        mapping = dict(pairs)
        if len(mapping) < len(pairs):
            ambiguous.append(mapping)
        return mapping

    try:
        data = json.loads(text, object_pairs_hook=paired)
    except ValueError as error:
        if required:
            raise _not_json(text, error) from None
        return None
    if not ambiguous and _is_regular(data):
        return PlanFile(name, text, data, "json")
    tree = read_tree(compose_json(text))
    return PlanFile(name, text, tree.data, "json", tree.faults)


def _not_json(text: str, error: ValueError) -> TextError:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError as found:  # its words are plainer
        return TextError(f"not JSON: {found.msg}", found.lineno - 1, found.colno - 1)
    return TextError(f"not JSON: {error}")


def _yaml_file(name: str, text: str) -> PlanFile:
    tree = read_tree(compose_yaml(text))
    return PlanFile(name, text, tree.data, "yaml", tree.faults)


def read_text(path: Path, name: str) -> str:
    """Return the text of a plan file: UTF-8, or what its byte order mark says.

    Raises:
        PlanError: It cannot be read, is too large, or is not text.
    """
    try:
        content = read_regular(path, MAX_FILE_BYTES)
        if len(content) > MAX_FILE_BYTES:
            raise _file_error(name, f"{path.stat().st_size:,} bytes; a plan file holds at most {MAX_FILE_BYTES:,}")
        text = content.decode(marked_codec(content[:4]) or "utf-8").removeprefix("\ufeff")
        return text.replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        bad_byte = f"byte {error.start} is {error.object[error.start]:#04x}"
        raise _file_error(name, f"not {error.encoding.upper()} text: {bad_byte}") from None
    except OSError as error:
        raise _file_error(name, f"cannot be read: {error.strerror or error}") from None


def _file_error(name: str, message: str) -> PlanError:
    return PlanError([Problem(message, None, None, None)], name)


def _kind(value: object) -> str:
    if value is None:
        return "nothing"
    names: dict[type, str] = {list: "a list", dict: "a mapping", str: "text", bool: "a truth value"}
    return names.get(type(value), "a number")


def _check_depth(source: PlanFile, data: Mapping[str, Any], limits: PlanLimits) -> None:
    """Refuse a tree that is nested too deeply before pydantic walks it, since pydantic's own limit says less."""
    for node_path, _ in data_nodes(data):
        if len(node_path) > 2 * limits.max_depth:  # a field and an index a level
            finding, path = too_deep(limits.max_depth), node_path[:-1]
            id, position = _id_of(source.data, path), source.position(path)
            raise PlanError([Problem(finding.message, id, None, position, finding.hint)], source.name)


def _fault_problem(source: PlanFile, fault: Fault) -> Problem:
    node_id, field = _place(source, fault.path)
    position = source.position_of(fault)
    return Problem(fault.message, node_id, None if fault.of_key else field, position, fault.hint)


def _follows(detail: Mapping[str, Any], places: set[DataPath]) -> bool:
    """Tell whether a misshapen value only follows from a value that could not be read as written."""
    path = cast("DataPath", detail["loc"])
    merged = detail["type"] == "missing" and (*path[:-1], "<<") in places
    return merged or any(path[:end] in places for end in range(len(path) + 1))


def _shape_error(source: PlanFile, problems: list[Problem], misshapen: list[DataPath], limits: PlanLimits) -> PlanError:
    repaired = repair(source.data, misshapen, source.faults)
    reported = problems
    if repaired is not None:
        graph_problems = check_graph(repaired.plan, source, limits, repaired.doubts)[1]
        reported = [*problems, *repaired.named(graph_problems)]
    error = PlanShapeError(
        sorted(reported, key=lambda problem: problem.position or Position(source.name, 0, 0)), source.name
    )
    if repaired is not None:
        error.part = PlanPart(repaired, source, tuple(problems))
    return error


def _shape_problem(source: PlanFile, detail: dict[str, Any]) -> Problem:
    path = cast("DataPath", detail["loc"])
    node_id, field = _place(source, path)
    finding = _shape_finding(path, detail)
    return Problem(finding.message, node_id, field, source.position(path), finding.hint)


def _place(source: PlanFile, path: DataPath) -> tuple[str | None, str]:
    """Return the id of the node that a path leads into, and the field within it; else the field within the plan."""
    owner = owner_of(path)
    node_id = _id_of(source.data, path)
    return node_id, dotted(path[len(owner) :]) if node_id is not None and path != owner else dotted(path)


def _shape_finding(path: DataPath, detail: dict[str, Any]) -> Finding:
    match detail["type"]:
        case "missing":
            return Finding("missing; it is required")
        case "extra_forbidden":
            names = field_names(_model_at(path))
            hint = did_you_mean(str(path[-1]), names) or f"known fields: {', '.join(names)}"
            return Finding.advised("unknown field", hint)
        case "enum":
            names = [kind.value for kind in WorkflowNodeType]
            value = detail["input"]
            hint = did_you_mean(value, names) if isinstance(value, str) else ""
            return Finding.advised(f"expected one of {', '.join(names)}, found {shorten(value)}", hint)
        case _:
            return advised_finding(detail)


def _model_at(path: DataPath) -> type[BaseModel]:
    """Return the model whose field the path's last part should have been."""
    if len(path) >= 2 and path[-2] == "policy":
        return NodePolicy
    if len(path) >= 2 and path[-2] == "best_of":
        return BestOf
    if len(path) >= 2 and path[-2] == "on_error":
        return OnError
    if path[:-1] == ("source_vibe",):
        return Vibe
    return WorkflowNode if len(path) > 1 else WorkflowPlan


def _id_of(data: Any, path: DataPath) -> str | None:
    owner = owner_of(path)
    for step in owner:
        data = data[step]
    id = cast("dict[str, Any]", data).get("id") if owner and isinstance(data, Mapping) else None
    return id if isinstance(id, str) else None
