"""Templates that may be filled in at once: those whose work is known to be small before it begins.

A light template names values, asks for parts of them and joins them. It may loop once over a list. What it makes is
then no longer than what it reads, a few times over, so that the size of the values bounds its time and its memory.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, cast

from jinja2 import nodes

from vibe_prefect.templates.language import parse, template_errors

MAX_WORK = 500_000
"""The most work that is light. A character that is read or written counts 1, which takes about 2 ns."""

MAX_NODES = 500
"""The largest light template, in the nodes of its tree; reading and compiling it takes a few ms, once."""

_STEP = 50
"""Work of one node of a template's tree."""

_ITEM = 10
"""Work of one item of a list or a mapping."""

_MAX_SEPARATOR = 8
_PLAIN_FILTERS = frozenset(
    {"abs", "capitalize", "count", "d", "default", "first", "float", "int", "last", "length", "lower", "string", "trim"}
    | {"upper"}
)
"""Filters that make nothing longer, but for letters such as ß."""

_GROWING_FILTERS = {"join": 1 + _MAX_SEPARATOR, "tojson": 12}
"""Filters that make something longer, and how many times at most; light on a value alone, not on each other."""

_TESTS = frozenset(
    {"boolean", "defined", "false", "float", "integer", "iterable", "mapping", "none", "number", "sequence", "string"}
    | {"true", "undefined"}
)
_LOOP = frozenset({"first", "index", "index0", "last", "length", "revindex", "revindex0"})

_Path = tuple[str | int, ...]
"""A name among the values, and the steps from there to a part."""

_STATEMENTS = (nodes.Template, nodes.Output, nodes.If)
_COMPARISONS = (nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not)
_SUMS = (*_STATEMENTS, *_COMPARISONS, nodes.Neg, nodes.Pos, nodes.Add, nodes.Sub, nodes.Concat, nodes.CondExpr)
"""Nodes whose result is no longer than their parts together. A list is not among them: written as text it doubles the
backslashes in its items, and lists may stand within each other."""


class _HeavyError(Exception):
    """A template that is not light, whatever the values are."""


@dataclass(frozen=True, slots=True)
class _Scope:
    loop: _Path | None = None
    """Path of the list that the enclosing loop goes over; `None` outside of loops."""

    targets: frozenset[str] = frozenset()
    """The loop's variables."""


@dataclass(frozen=True, slots=True)
class _Term:
    """A part of a template's work: the size of a value times a factor, for each item of another."""

    path: _Path | None
    """Path of the value; `None` for a size of 1."""

    factor: int
    loop: _Path | None
    """Path of the list for whose every item it is done; `None` for once."""


@dataclass(slots=True)
class _Weight:
    """The work of a template as a function of the values."""

    terms: list[_Term] = field(default_factory=list[_Term])
    nodes: int = 0

    def visit(self, node: nodes.Node, scope: _Scope) -> None:
        """Add the work of a node and everything below it.

        Raises:
            _HeavyError: It has a part that is not light.
        """
        self.nodes += 1
        self._add(None, _STEP, scope)
        if self.nodes > MAX_NODES:
            raise _HeavyError
        match node:
            case nodes.TemplateData(data=text) | nodes.Const(value=str() as text):
                self._add(None, len(text), scope)
            case nodes.Const():
                pass
            case nodes.Name() | nodes.Getattr() | nodes.Getitem():
                self._read(node, 1, scope)
            case nodes.Filter():
                self._filter(node, scope)
            case nodes.Test(node=subject) if _is_light_test(node):
                self.visit(subject, scope)
            case nodes.For() if scope.loop is None:
                self._loop(node)
            case _ if isinstance(node, _SUMS) or _is_constant_list(node):
                self._visit_all(node.iter_child_nodes(), scope)
            case _:
                raise _HeavyError

    def _visit_all(self, children: Iterable[nodes.Node], scope: _Scope) -> None:
        for node in children:
            self.visit(node, scope)

    def _filter(self, node: nodes.Filter, scope: _Scope) -> None:
        if node.kwargs or node.dyn_args or node.dyn_kwargs or node.node is None:
            raise _HeavyError
        match node.name, node.args:
            case (("d" | "default"), _):
                self._visit_all((node.node, *node.args), scope)
            case name, [] if name in _PLAIN_FILTERS:
                self.visit(node.node, scope)
            case ("join", []) | ("join", [nodes.Const(value=str())]) | ("tojson", []):
                if any(len(cast("nodes.Const", argument).value) > _MAX_SEPARATOR for argument in node.args):
                    raise _HeavyError
                self._read(node.node, _GROWING_FILTERS[node.name], scope)
            case _:
                raise _HeavyError

    def _loop(self, loop: nodes.For) -> None:
        path = _path(loop.iter)
        targets = loop.target.items if isinstance(loop.target, nodes.Tuple) else [loop.target]
        if path is None or loop.recursive or not all(isinstance(target, nodes.Name) for target in targets):
            raise _HeavyError
        self._add(path, 1, _Scope())
        inner = _Scope(path, frozenset(cast("nodes.Name", target).name for target in targets))
        self._visit_all((*loop.body, *([loop.test] if loop.test is not None else [])), inner)
        self._visit_all(loop.else_, _Scope())

    def _read(self, node: nodes.Node, factor: int, scope: _Scope) -> None:
        path = _path(node)
        if path is None:
            raise _HeavyError
        if path[0] == "loop" and scope.loop is not None:
            if len(path) != 2 or path[1] not in _LOOP:
                raise _HeavyError
        elif path[0] in scope.targets:  # the items together are as large as the list
            self._add(scope.loop, factor, _Scope())
        else:
            self._add(path, factor, scope)

    def _add(self, path: _Path | None, factor: int, scope: _Scope) -> None:
        self.terms.append(_Term(path, factor, scope.loop))


@dataclass(frozen=True, slots=True)
class _Work:
    terms: tuple[tuple[_Term, int], ...]
    """Each term, and how often it occurs."""

    passes_on: bool
    """Whether the template is nothing but the name of a value, which is then handed on as it is."""


def is_light(text: str, values: Mapping[str, Any]) -> bool:
    """Tell whether a template can be filled in at once, without bounds on its time and memory.

    Raises:
        InvalidTemplateError: The template does not parse.
    """
    work = _work(text)
    if work is None or work.passes_on:
        return work is not None
    remaining_work = MAX_WORK
    for term, times in work.terms:
        items = 1 if term.loop is None else _length(_value_at(values, term.loop))
        if items:
            remaining_work -= (
                times * items * (1 if term.path is None else _size(_value_at(values, term.path), remaining_work))
            )
        if remaining_work < 0:
            return False
    return True


@lru_cache(maxsize=4096)
def _work(text: str) -> _Work | None:
    tree, weight = parse(text), _Weight()
    try:
        with template_errors(text):
            weight.visit(tree, _Scope())
    except _HeavyError:
        return None
    sums: dict[_Term, int] = {}
    for term in weight.terms:
        sums[replace(term, factor=1)] = sums.get(replace(term, factor=1), 0) + term.factor
    return _Work(tuple(sums.items()), _passes_on(tree))


def _passes_on(tree: nodes.Template) -> bool:
    match tree.body:
        case [nodes.Output(nodes=parts)]:
            outputs = [part for part in parts if not (isinstance(part, nodes.TemplateData) and not part.data.strip())]
            return len(outputs) == 1 and _path(outputs[0]) is not None
        case _:
            return False


def _path(node: nodes.Node | None) -> _Path | None:
    """Return the way to a value that an expression spells out; `None` for any other. A slice counts as the whole."""
    steps: list[str | int] = []
    while isinstance(node, nodes.Getattr | nodes.Getitem):
        match node:
            case nodes.Getattr(attr=name):
                steps.append(name)
            case nodes.Getitem(arg=nodes.Const(value=str() | int() as step)):
                steps.append(step)
            case nodes.Getitem(arg=nodes.Slice() as part) if all(_is_constant(end) for end in part.iter_child_nodes()):
                steps.clear()
            case _:
                return None
        node = node.node
    return (node.name, *reversed(steps)) if isinstance(node, nodes.Name) and node.ctx == "load" else None


def _is_light_test(node: nodes.Test) -> bool:
    return node.name in _TESTS and not (node.args or node.kwargs or node.dyn_args or node.dyn_kwargs)


def _is_constant_list(node: nodes.Node) -> bool:
    return isinstance(node, nodes.List | nodes.Tuple) and all(map(_is_constant, node.items))


def _is_constant(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Const | nodes.Neg) and all(map(_is_constant, node.iter_child_nodes()))


def _value_at(values: Mapping[str, Any], path: _Path) -> Any:
    value: Any = values
    for step in path:
        try:
            value = value[step]
        except (LookupError, TypeError):
            return None
    return value


def _length(value: Any) -> int:
    return len(cast("Collection[Any]", value)) if isinstance(value, str | Mapping | list | tuple) else 0


def _size(value: Any, most: int) -> int:
    """Return the size of a value; counting stops once it is above `most`."""
    size, pending = 0, [value]
    while pending and size <= most:
        item = pending.pop()
        match item:
            case str() | bytes():
                size += len(item)
            case Mapping():
                mapping = cast("Mapping[Any, Any]", item)
                size += _ITEM * len(mapping)
                if size <= most:
                    pending += [*mapping.keys(), *mapping.values()]
            case list() | tuple():
                size += _ITEM * len(cast("list[Any]", item))
                if size <= most:
                    pending += cast("list[Any]", item)
            case _:
                size += _ITEM
    return size
