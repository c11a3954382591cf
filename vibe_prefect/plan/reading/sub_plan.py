"""A part's nodes in the plan that uses the part: their ids are longer, and their inputs are what the plan gives."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from vibe_prefect.core.plan_tree import DataPath, data_nodes, dotted
from vibe_prefect.errors import Finding, Problem, UsageError, did_you_mean
from vibe_prefect.plan.reading.plan_text import PlanFile
from vibe_prefect.schemas.schema import SchemaError, mismatches
from vibe_prefect.templates.names import place_of, references
from vibe_prefect.templates.texts import InvalidTemplateError, is_template, walk_templates
from vibe_prefect.tools.secrecy.known import scrubbed

MAX_CHARACTERS = 50_000_000
"""Characters of the templates of a part, once its inputs are filled in."""

_NOT_TEXT = frozenset({"id", "type", "dependencies", "children", "policy", "estimated_duration"})
"""Fields of a node in which no template stands."""


class PartError(UsageError, ValueError):
    """A part that cannot be used."""

    def __init__(self, finding: Finding) -> None:
        """State what is wrong.

        Args:
            finding: What was found, what was expected, and what to do.
        """
        self.finding = finding
        super().__init__(finding)

    def __str__(self) -> str:
        return self.finding.message


@dataclass(frozen=True)
class Given:
    """Values that a plan gives to the inputs of a part."""

    values: Mapping[str, Any]
    """The values by name; their texts may be templates of the plan."""

    dependencies: Collection[str]
    """Ids of the nodes whose outputs they may name: those that the composite depends on."""

    declared: Collection[str] | None
    """Inputs that the plan itself declares; `None` where they could not be read."""

    def findings(self, inputs: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[DataPath, Finding]]:
        """Yield what is wrong with the values, each with its path within them.

        Args:
            inputs: The inputs that the part declares.
        """
        known = f"it has {', '.join(inputs)}" if inputs else "it declares none"
        for name, value in self.values.items():
            if name not in inputs:
                hint = did_you_mean(name, inputs) or known
                yield (name,), Finding.advised("the part has no input of this name", hint)
            elif templates := walk_templates(value, (name,)):
                yield from ((path, finding) for path, text in templates for finding in self._template_findings(text))
            else:
                yield from (((name, *path), finding) for path, finding in _misfits(inputs[name], value))
        for name, schema in inputs.items():
            if "default" not in schema and name not in self.values:
                yield (), Finding.advised(f"the part needs the input {name!r}", f"give it, as in with: {{{name}: ...}}")

    def _template_findings(self, text: str) -> Iterator[Finding]:
        try:
            names = references(text)
        except InvalidTemplateError as error:
            yield Finding(str(error))
            return
        for id in names.outputs:
            if id not in self.dependencies:
                listed = f"its dependencies are {', '.join(self.dependencies)}" if self.dependencies else "it has none"
                text = f"the template names outputs.{id}, but {id!r} is not a dependency of this node: {listed}"
                yield Finding.advised(text, did_you_mean(id, self.dependencies))
        for name in names.inputs.names:
            if self.declared is not None and name not in self.declared:
                text = f"the template names inputs.{name}, which is not among the plan's inputs"
                yield Finding.advised(text, did_you_mean(name, self.declared))
        if names.any_output:
            yield Finding("the template names outputs that are only known when it is filled in; name them literally")


class SubPlan:
    """The nodes of one use of a part."""

    def __init__(self, id: str, source: PlanFile, given: Mapping[str, Any]) -> None:
        """Take a part in.

        Args:
            id: Id of the composite that uses it.
            source: The part, which is a valid plan.
            given: Values of its inputs; the others have their defaults.
        """
        from vibe_prefect.templates.rewriting import Rewriting  # with Jinja: few plans have parts

        data = cast("dict[str, Any]", source.data)
        self.problems: list[Problem] = []
        self._source = source
        self._inputs: dict[str, Any] = data.get("inputs") or {}
        self._policy: dict[str, Any] = data.get("policy") or {}
        self._roots: list[dict[str, Any]] = data.get("root_nodes") or []
        self._ids = {node_id: f"{id}.{node_id}" for node_id in _ids(data)}
        values = _defaults(self._inputs) | {name: value for name, value in given.items() if name in self._inputs}
        self._needs = {name: _outputs_in(value) for name, value in values.items()}
        self._rewriting = Rewriting(self._ids, values)
        self._room = MAX_CHARACTERS

    def nodes(self) -> list[dict[str, Any]]:
        """Return the data of the part's nodes, as they stand below the composite.

        Raises:
            PartError: Its inputs make it too large.
        """
        return [self._node(node, ("root_nodes", index)) for index, node in enumerate(self._roots)]

    def _node(self, node: Mapping[str, Any], path: DataPath) -> dict[str, Any]:
        id = self._ids[node["id"]]
        texts = {name: value for name, value in node.items() if name not in _NOT_TEXT}
        own_policy: dict[str, Any] = node.get("policy") or {}
        policy = self._policy | own_policy
        children: list[dict[str, Any]] = node.get("children") or []
        return {
            **node,
            "id": id,
            **{name: self._texts(value, id, path, (name,)) for name, value in texts.items()},
            "dependencies": self._dependencies(node, texts),
            **self._other_ids(node),
            **({"policy": policy} if policy else {}),
            "children": [self._node(child, (*path, "children", index)) for index, child in enumerate(children)],
        }

    def _dependencies(self, node: Mapping[str, Any], texts: Mapping[str, Any]) -> list[str]:
        """Return the ids that a node depends on: also those whose outputs stand for inputs that it names."""
        stated: list[str] = node.get("dependencies") or []
        own = [self._ids.get(id, id) for id in stated]
        needed = [id for name in self._read_inputs(texts) for id in self._needs.get(name, ())]
        return list(dict.fromkeys([*own, *needed]))

    def _other_ids(self, node: Mapping[str, Any]) -> dict[str, Any]:
        """Return the other fields of a node that name nodes, as far as it has them."""
        fields: dict[str, Any] = {}
        if "optional_dependencies" in node:
            fields["optional_dependencies"] = [self._ids.get(id, id) for id in node["optional_dependencies"]]
        if isinstance(fallback := node.get("on_error"), Mapping) and "use" in fallback:
            use: Any = cast("Mapping[str, Any]", fallback)["use"]
            fields["on_error"] = {**fallback, "use": self._ids.get(use, use)}
        return fields

    def _read_inputs(self, texts: Mapping[str, Any]) -> Iterator[str]:
        for _, text in walk_templates(texts):
            try:
                reads = references(text).inputs
            except InvalidTemplateError:  # the checks of the plan refuse it
                continue
            yield from self._inputs if reads.any else reads.names

    def _texts(self, value: Any, id: str, path: DataPath, place: DataPath) -> Any:
        if isinstance(value, Mapping):
            items = cast("Mapping[str, Any]", value).items()
            return {key: self._texts(item, id, path, (*place, key)) for key, item in items}
        if isinstance(value, list):
            items = enumerate(cast("list[Any]", value))
            return [self._texts(item, id, path, (*place, index)) for index, item in items]
        return self._text(value, id, path, place) if isinstance(value, str) and is_template(value) else value

    def _text(self, text: str, id: str, path: DataPath, place: DataPath) -> str:
        try:
            unknown = [name for name in references(text).inputs.names if name not in self._inputs]
        except InvalidTemplateError:
            return text
        for name in unknown:
            known = did_you_mean(name, self._inputs) or f"it has {', '.join(self._inputs) or 'none'}"
            finding = Finding.advised(f"the template names inputs.{name}, which the part does not declare", known)
            finding = replace(finding, at=place_of(text, "inputs", name))
            self._report(finding, id, path, place)
        try:
            written = self._rewriting.of(text)
        except InvalidTemplateError as error:
            self._report(Finding(str(error)), id, path, place)
            return text
        self._room -= len(written)
        if self._room < 0:
            raise PartError(Finding(f"the inputs of the part make more than {MAX_CHARACTERS:,} characters of it"))
        return written

    def _report(self, finding: Finding, id: str, path: DataPath, place: DataPath) -> None:
        position = self._source.position((*path, *place, *(finding.at or ())))
        self.problems.append(Problem(finding.message, id, dotted(place), position, finding.hint))


def _ids(data: Mapping[str, Any]) -> Iterator[str]:
    yield from (str(node["id"]) for _, node in data_nodes(data))


def _defaults(inputs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the defaults of a part's inputs; braces in them are text."""
    from vibe_prefect.templates.rewriting import texts_of

    return {name: texts_of(schema["default"], _quoted) for name, schema in inputs.items() if "default" in schema}


def _quoted(text: str) -> str:
    return f"{{{{ {json.dumps(text, ensure_ascii=False)} }}}}"


def _outputs_in(value: Any) -> tuple[str, ...]:
    ids: dict[str, None] = {}
    for _, text in walk_templates(value):
        try:
            ids |= dict.fromkeys(references(text).outputs)
        except InvalidTemplateError:  # refused where it stands
            continue
    return tuple(ids)


def _misfits(schema: Mapping[str, Any], value: Any) -> Iterator[tuple[DataPath, Finding]]:
    try:
        for mismatch in mismatches(schema, value):
            yield mismatch.path, Finding(scrubbed(mismatch.message))
    except (SchemaError, TypeError) as error:
        yield (), Finding(scrubbed(f"cannot be checked: {error}"))
