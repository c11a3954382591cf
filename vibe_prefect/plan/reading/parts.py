"""Parts of a plan in files of their own: texts, data, and whole plans, read together with the plan's file.

The plan that comes out is whole: what is stored, deployed and sent needs no file any more. Paths are relative to the
file that names them. They lead to regular files in the folder of the plan's own file and below it, and nowhere else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol, cast

from vibe_prefect.core.models import WorkflowNodeType
from vibe_prefect.core.plan_tree import DataPath, data_nodes, dotted
from vibe_prefect.errors import Finding, PlanError, Problem, shorten
from vibe_prefect.plan.reading.plan_text import MAX_FILE_BYTES, PartPlace, PlanFile, read_source, read_text
from vibe_prefect.plan.reading.source_text import Fault
from vibe_prefect.plan.reading.sub_plan import Given, PartError, SubPlan

PART_FIELDS = ("use", "with")
"""Fields of a node in a file that uses a part; a plan as it is stored has neither."""

TEXT_INPUTS = frozenset({"prompt", "system", "instructions", "template", "task", "text", "reference"})
"""Inputs of tools whose text may stand in a file: `{file: prompts/blog.md}`."""

DATA_INPUTS = frozenset({"schema", "output_schema", "criteria"})
"""Inputs of tools whose data may stand in a YAML or JSON file."""

MAX_PARTS = 1_000
"""Files that a plan may name, each counted as often as it is named."""

PLACEHOLDER = "{{ none }}"
"""Stands for a value that is missing or wrong, so that no check reports what follows from it."""

_USE = "File of a plan whose nodes stand below this one, such as parts/social.yaml, in the plan's folder or below it."
_WITH = (
    "Inputs of that plan, by name. Texts may be templates that name inputs, and outputs of this node's dependencies."
)
_DATA_ENDINGS = (".json", ".yaml", ".yml")

_Kind = Literal["text", "data", "plan"]


class ParsedPlan(Protocol):
    """A plan that was read from a part."""

    @property
    def source(self) -> PlanFile:
        """Its file."""
        ...


@dataclass(frozen=True)
class _Reference:
    """A value that names a file."""

    path: DataPath
    """Path of the value within the plan's data."""

    kind: _Kind
    """What the file holds."""

    file: Any
    """What is named: a path, if it is well."""


def with_parts(source: PlanFile, file: Path, parse: Callable[[PlanFile], ParsedPlan]) -> PlanFile:
    """Return a plan's text with the parts that it names in their places.

    Args:
        source: The text.
        file: Its file.
        parse: Checks the shape of a part that is a plan.

    Returns:
        The text; what is wrong with a part is among its faults and problems.
    """
    if next(_references(source.data), None) is None:
        return source
    resolved = file.resolve()
    return _Reader(resolved.parent, parse).resolve(source, resolved, (resolved,))


def without_parts(source: PlanFile) -> PlanFile:
    """Return the text of a plan that came without a file, with a fault for each part that it names."""
    references = list(_references(source.data))
    if not references:
        return source
    advice = "write the part out here, or store the plan from its file, as with 'vibe-prefect blocks save'"
    finding = Finding.advised(
        "a part is read from a file beside the plan's own, and this plan came without one", advice
    )
    data = deepcopy(source.data)
    faults = [_refused(data, reference, finding) for reference in references]
    return replace(source, data=data, faults=(*source.faults, *faults))


def with_parts_schema(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON Schema of a node with what a file may say besides.

    Args:
        node: The schema of a node as it is stored.
    """
    fields: dict[str, Any] = dict(node["properties"])
    file = {"type": "object", "properties": {"file": {"type": "string"}}, "required": ["file"]}
    description = fields["description"]
    fields["description"] = {"anyOf": [{"type": "string"}, file | {"additionalProperties": False}]} | {
        key: value for key, value in description.items() if key != "type"
    }
    fields["use"] = {"title": "Use", "type": "string", "description": _USE}
    fields["with"] = {"title": "With", "type": "object", "description": _WITH}
    required = [name for name in node["required"] if name != "id"]
    choices = [{"required": required}, {"required": ["use"]}]
    return dict(node) | {"properties": fields, "required": ["id"], "anyOf": choices}


def _references(data: Any) -> Iterator[_Reference]:
    """Yield the values in a plan's data that name a file."""
    if not isinstance(data, Mapping):
        return
    for path, node in data_nodes(cast("Mapping[str, Any]", data)):
        if not isinstance(node, Mapping):
            continue
        fields = cast("Mapping[str, Any]", node)
        if "use" in fields:
            yield _Reference(path, "plan", fields["use"])
        if (file := _named_file(fields.get("description"))) is not None:
            yield _Reference((*path, "description"), "text", file)
        for name, value in _tool_inputs(fields):
            kind = "text" if name in TEXT_INPUTS else "data"
            if (name in TEXT_INPUTS or name in DATA_INPUTS) and (file := _named_file(value)) is not None:
                yield _Reference((*path, "parameters", "tool_inputs", name), kind, file)


def _tool_inputs(node: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    parameters = node.get("parameters")
    inputs = cast("Mapping[str, Any]", parameters).get("tool_inputs") if isinstance(parameters, Mapping) else None
    yield from cast("Mapping[str, Any]", inputs).items() if isinstance(inputs, Mapping) else ()


def _named_file(value: Any) -> str | None:
    """Return the path in `{file: path}`; `None` for any other value."""
    if not isinstance(value, Mapping) or len(cast("Mapping[str, Any]", value)) != 1:
        return None
    file = cast("Mapping[str, Any]", value).get("file")
    return file if isinstance(file, str) else None


class _Reader:
    """Reads the parts of one plan."""

    def __init__(self, root: Path, parse: Callable[[PlanFile], ParsedPlan]) -> None:
        self._root = root
        self._parse = parse
        self._count = 0
        self._room = MAX_FILE_BYTES
        self._texts: dict[Path, str] = {}

    def resolve(self, source: PlanFile, file: Path, chain: Sequence[Path]) -> PlanFile:
        """Return a text with its parts in their places.

        Args:
            source: The text.
            file: Its file.
            chain: The files that led to it, itself included.
        """
        references = list(_references(source.data))
        if not references:
            return source
        data = deepcopy(source.data)
        faults, parts, problems = list[Fault](), dict[DataPath, PartPlace](), list[Problem]()
        for reference in references:
            try:
                if reference.kind == "plan":
                    more, place = self._use(source, reference, file, chain, data)
                    problems += more
                    parts[*reference.path, "children"] = place
                else:
                    parts[reference.path] = self._value(source, reference, file, data)
            except PartError as error:
                faults.append(_refused(data, reference, error.finding))
            except PlanError as error:
                problems += error.problems
                faults.append(
                    _refused(data, reference, Finding(f"the file {shorten(reference.file, 200)} has problems"))
                )
        return replace(source, data=data, faults=(*source.faults, *faults), parts=parts, problems=tuple(problems))

    def _value(self, source: PlanFile, reference: _Reference, file: Path, data: Any) -> PartPlace:
        """Put the text or the data of a file into the plan's data, and return their place."""
        name, text, _ = self._read(source, reference, file)
        if reference.kind == "text":
            part = PlanFile(name, text, text.removesuffix("\n"), "text")
        elif not name.endswith(_DATA_ENDINGS):
            raise PartError(
                Finding(f"expected a file that ends with {', '.join(_DATA_ENDINGS)}, found {shorten(name)}")
            )
        else:
            part = read_source(name, text)
            if part.faults:
                faults = [
                    Problem(fault.message, None, None, part.position_of(fault), fault.hint) for fault in part.faults
                ]
                raise PlanError(faults, name)
        *above, last = reference.path
        _at(data, above)[last] = part.data
        return PartPlace(part)

    def _use(
        self, source: PlanFile, reference: _Reference, file: Path, chain: Sequence[Path], data: Any
    ) -> tuple[list[Problem], PartPlace]:
        """Put the nodes of a part below the node that uses it, and return their place."""
        node: dict[str, Any] = _at(data, reference.path)
        _check_user(node)
        name, text, target = self._read(source, reference, file)
        if target in chain:
            names = [str(step.relative_to(self._root)) for step in (*chain[chain.index(target) :], target)]
            raise PartError(Finding(f"a part cannot use itself: {' -> '.join(names)}"))
        part = self._parse(self.resolve(read_source(name, text), target, (*chain, target))).source
        given, problems = _given(source, reference.path, node, part)
        sub_plan = SubPlan(str(node.get("id")), part, given)
        node["children"] = sub_plan.nodes()
        node.setdefault("type", WorkflowNodeType.COMPOSITE.value)
        node.setdefault("description", part.data["source_vibe"]["description"])
        for field in PART_FIELDS:
            node.pop(field, None)
        return [*problems, *sub_plan.problems], PartPlace(part, ("root_nodes",))

    def _read(self, source: PlanFile, reference: _Reference, file: Path) -> tuple[str, str, Path]:
        """Return the name of a file for messages, its text, and its path without links.

        Raises:
            PartError: It is not a file that the plan may read, or it cannot be read.
        """
        target = self._target(reference.file, file)
        name = os.path.normpath(Path(source.name).parent / reference.file)
        if target not in self._texts:
            try:
                self._texts[target] = read_text(target, name)
            except PlanError as error:
                raise PartError(Finding(f"{shorten(name, 200)} {error.problems[0].message}")) from None
        text = self._texts[target]
        self._count += 1
        self._room -= len(text)
        if self._count > MAX_PARTS:
            raise PartError(Finding(f"the plan names more than {MAX_PARTS:,} files, counted as often as they are used"))
        if self._room < 0:
            raise PartError(Finding(f"the files that the plan names have more than {MAX_FILE_BYTES:,} characters"))
        return name, text, target

    def _target(self, named: Any, file: Path) -> Path:
        """Return the path of a file that a plan may name.

        Raises:
            PartError: It is no path, or leads out of the folder of the plan.
        """
        if not isinstance(named, str) or not named.strip():
            raise PartError(Finding(f"expected the path of a file, found {shorten(named)}"))
        if Path(named).is_absolute() or "\\" in named:
            advice = "write its path from the folder of this file, as in parts/social.yaml"
            raise PartError(Finding.advised(f"{shorten(named, 200)} is not a relative path", advice))
        try:
            target = (file.parent / named).resolve()
        except (OSError, RuntimeError, ValueError):  # links that go round in a circle, a NUL
            raise PartError(Finding(f"{shorten(named, 200)} cannot be the path of a file")) from None
        if not target.is_relative_to(self._root):
            advice = "a plan may name files beside it and below"
            raise PartError(Finding.advised(f"{shorten(named, 200)} leads out of the folder of the plan", advice))
        return target


def _check_user(node: Mapping[str, Any]) -> None:
    """Refuse fields of a node that do not go with a part.

    Raises:
        PartError: It has such a field.
    """
    if node.get("type", WorkflowNodeType.COMPOSITE) != WorkflowNodeType.COMPOSITE:
        raise PartError(Finding(f"a node that uses a part is a composite, and this one is {shorten(node['type'])}"))
    for field in ("children", "parameters"):
        if node.get(field):
            raise PartError(Finding(f"a node that uses a part has no {field!r} of its own; the part has them"))
    if not isinstance(node.get("with", {}), Mapping):
        raise PartError(Finding(f"'with': expected a mapping of inputs, found {shorten(node['with'])}"))


def _given(
    source: PlanFile, path: DataPath, node: Mapping[str, Any], part: PlanFile
) -> tuple[dict[str, Any], list[Problem]]:
    """Return the inputs that a node gives to its part, and what is wrong with them; a wrong one has a placeholder."""
    values = dict(cast("Mapping[str, Any]", node.get("with") or {}))
    dependencies = node.get("dependencies")
    listed = (
        [id for id in cast("list[Any]", dependencies) if isinstance(id, str)] if isinstance(dependencies, list) else []
    )
    inputs = source.data.get("inputs", {})
    given = Given(values, listed, cast("Mapping[str, Any]", inputs) if isinstance(inputs, Mapping) else None)
    declared: Mapping[str, Any] = part.data.get("inputs") or {}
    id, problems = node.get("id"), list[Problem]()
    for place, finding in given.findings(declared):
        within = ("with", *place)
        position = source.position((*path, *within))
        problems.append(
            Problem(finding.message, id if isinstance(id, str) else None, dotted(within), position, finding.hint)
        )
        values |= {str(name): PLACEHOLDER for name in place[:1]}
    missing = {name for name, schema in declared.items() if "default" not in schema} - values.keys()
    return values | dict.fromkeys(missing, PLACEHOLDER), problems


def _refused(data: Any, reference: _Reference, finding: Finding) -> Fault:
    """Put something harmless in the place of a part that cannot be taken, and return the fault."""
    if reference.kind != "plan":
        *above, last = reference.path
        _at(data, above)[last] = "" if last == "description" else PLACEHOLDER
        return Fault(reference.path, finding.message, hint=finding.hint)
    node: dict[str, Any] = _at(data, reference.path)
    node.update({"type": WorkflowNodeType.COMPOSITE.value, "children": [], "parameters": {}})
    node.setdefault("description", "")
    for field in PART_FIELDS:
        node.pop(field, None)
    dropped = frozenset(_ids_below(data, f"{node.get('id')}."))
    return Fault((*reference.path, "use"), finding.message, dropped=dropped, hint=finding.hint)


def _ids_below(data: Mapping[str, Any], prefix: str) -> Iterator[str]:
    """Yield the ids that nodes depend on and that a part would have."""
    for _, node in data_nodes(data):
        ids = cast("Mapping[str, Any]", node).get("dependencies") if isinstance(node, Mapping) else None
        for id in cast("list[Any]", ids) if isinstance(ids, list) else ():
            if isinstance(id, str) and id.startswith(prefix):
                yield id


def _at(data: Any, path: Sequence[str | int]) -> Any:
    for step in path:
        data = data[step]
    return data
