"""Plan files: YAML or JSON in, a `WorkflowPlan` and the places of its values out.

A text that is JSON is read as JSON whatever its name, any other as YAML; both obey the same rules. Only text, numbers,
booleans and null come out, so a date stays the text that was written. What is wrong with single values is collected,
and the rest of the plan is checked all the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ValidationError

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
from vibe_prefect.plan.graph import PlanLimits
from vibe_prefect.plan.graph_checks import check_graph, too_deep
from vibe_prefect.plan.reading.parts import with_parts, without_parts
from vibe_prefect.plan.reading.plan_text import PlanFile, file_error, is_regular, read_source, read_text
from vibe_prefect.plan.reading.repair import Repaired, owner_of, repair
from vibe_prefect.plan.reading.size import slim_data
from vibe_prefect.plan.reading.source_text import TOO_DEEP, Fault, TextError, Tree, compose_json, read_tree
from vibe_prefect.text.pydantic_errors import advised_finding


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
    source = read_source(name, read_text(Path(path), name))
    return parse_plan(with_parts(source, Path(path), parse_plan), limits)


def read_plan(name: str, text: str, limits: PlanLimits | None = None) -> LoadedPlan:
    """Turn a text, YAML or JSON, into a plan; see `load_plan` for errors.

    Args:
        name: What messages call the text. A name that ends with `.json` makes it JSON in any case.
        text: The text.
        limits: How large the plan may be.
    """
    return parse_plan(without_parts(read_source(name, text)), limits)


def whole_text(loaded: LoadedPlan) -> str:
    """Return a plan's text as its author wrote it; of a plan with parts in other files the whole plan, as JSON."""
    if not loaded.source.parts:
        return loaded.source.text
    return json.dumps(slim_data(loaded.plan), indent=2, ensure_ascii=False) + "\n"


def plan_of_data(data: Mapping[str, Any]) -> LoadedPlan:
    """Turn a plan's data, as a form or a program gives them, into a plan; see `load_plan` for errors.

    Args:
        data: The data; there are no lines in messages on them.
    """
    id = data.get("id")
    name = id if isinstance(id, str) else ""
    faults: tuple[Fault, ...] = ()
    values: Any = dict(data)
    if not is_regular(values):
        try:
            tree = read_tree(compose_json(json.dumps(values)))
        except TextError as error:
            raise file_error(name, error.message) from None
        except RecursionError:
            raise file_error(name, TOO_DEEP) from None
        except (TypeError, ValueError):  # values that no text holds, such as models: pydantic knows what to do
            tree = Tree(values, {}, ())
        values, faults = tree.data, tuple(Fault(fault.path, fault.message, hint=fault.hint) for fault in tree.faults)
    return parse_plan(without_parts(PlanFile(name, "", values, "json", faults)))


def parse_plan(source: PlanFile, limits: PlanLimits | None = None) -> LoadedPlan:
    """Turn a plan file's data into a plan; see `load_plan` for errors."""
    limits = limits or PlanLimits()
    data = source.data
    problems = [*(_fault_problem(source, fault) for fault in source.faults), *source.problems]
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
            if path[-1] == "with" and _model_at(path) is WorkflowNode:
                return Finding.advised("unknown field", "'with' gives inputs to a part, which 'use' names")
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
