"""Names in a template: outputs of other nodes, parts of these, and other names. Nothing is evaluated for that."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from jinja2 import nodes

from vibe_prefect.templates.language import MAX_TOKENS, parse, template_errors, undeclared_names
from vibe_prefect.templates.texts import TEMPLATE_NAMES

Step = str | int | None
"""One step from an output to a part of it: a field, an index, or `None` for each item in turn."""


_Path = tuple[Step, ...]
"""A way from the root, such as `outputs`: a key, such as a node's id, and then the steps within its value."""


class FieldAccess(NamedTuple):
    """A part of a node's output that a template needs to be there."""

    output: str
    """The node's id; of an input or a fact its name."""

    steps: tuple[Step, ...]
    """The way from the output to the part; never empty."""


class Reads(NamedTuple):
    """Parts of one of the mappings that a template can name, such as `inputs`."""

    names: tuple[str, ...] = ()
    """Keys that it names literally, in the order of appearance."""

    fields: tuple[FieldAccess, ...] = ()
    """Parts of these values, as in `References.fields`."""

    any: bool = False
    """Whether it may read keys that it does not name literally, as `inputs[name]` does."""


_NO_READS = Reads()


class References(NamedTuple):
    """Names in a template."""

    outputs: tuple[str, ...]
    """Ids of the nodes whose outputs it names literally, in the order of appearance."""

    fields: tuple[FieldAccess, ...]
    """Parts of these outputs, in the order of appearance; without those whose presence the template asks for."""

    subtracted: Mapping[str, str]
    """`outputs.blog-post` reads as `outputs.blog - post`: for such an id, what was probably meant."""

    names: frozenset[str]
    """All other names at the top level that it expects to be given."""

    any_output: bool
    """Whether it may read outputs that it does not name literally, as `outputs[name]` does."""

    inputs: Reads = _NO_READS
    """What it reads of the run's inputs."""

    run: Reads = _NO_READS
    """What it reads of the facts of the run."""


@lru_cache(maxsize=4096)
def references(text: str) -> References:
    """Return what a template names.

    Raises:
        InvalidTemplateError: The template does not parse, or names a filter that does not exist; the message names
            the line within it.
    """
    plain = plain_references(text)
    if plain is not None:
        return plain
    with template_errors(text):
        return _references(parse(text))


_KEY = r"[A-Za-z0-9 ._-]*"
_STEP = rf"\.[A-Za-z_][A-Za-z0-9_]*|\[(?:0|[1-9][0-9]{{0,8}}|'{_KEY}'|\"{_KEY}\")\]"
_PLAIN = re.compile(rf"\{{\{{[ \t\r\n]*({'|'.join(sorted(TEMPLATE_NAMES))})((?:{_STEP}){{0,20}})[ \t\r\n]*\}}\}}")
"""An expression that names one value or a part of it, such as `{{ outputs.digest.text }}`."""

_STEPS = re.compile(rf"\.([A-Za-z0-9_]+)|\[([0-9]+)\]|\[['\"]({_KEY})['\"]\]")


_READ = ("outputs", "inputs", "run")
"""Mappings of which `References` has the parts that are read."""


def plain_references(text: str) -> References | None:
    """Return what a template names that holds no expressions but names of values and of their parts.

    Nearly all templates of a plan are like that, and Jinja takes a hundred times as long to read one.

    Args:
        text: The template.

    Returns:
        The same as Jinja's own reading of it would show; `None` for a template that has anything else in it.
    """
    # "{{{" and what is no plain expression: Jinja says what they mean. No text has more tokens than characters.
    if "{%" in text or "{#" in text or "{{{" in text or len(text) > MAX_TOKENS:
        return None
    found: list[tuple[str, str]] = _PLAIN.findall(text)
    if len(found) != text.count("{{"):
        return None
    paths: dict[str, dict[_Path, None]] = {}
    for name, steps in found:
        parts = [int(index) if index else field or key for field, index, key in _STEPS.findall(steps)]
        paths.setdefault(name, {})[tuple(parts)] = None
    outputs, inputs, run = [_plain_reads(paths[root]) if root in paths else _NO_READS for root in _READ]
    names = frozenset(paths.keys() - {"outputs"})
    return References(outputs.names, outputs.fields, {}, names, outputs.any, inputs, run)


def _plain_reads(paths: Collection[_Path]) -> Reads:
    names: dict[str, None] = {}
    fields: list[FieldAccess] = []
    for path in paths:
        if path and isinstance(path[0], str):
            names[path[0]] = None
            if len(path) > 1:
                fields.append(FieldAccess(path[0], path[1:]))
    return Reads(tuple(names), tuple(fields), () in paths)


def place_of(text: str, *names: str) -> tuple[int, int] | None:
    """Return the line and the column, from 0, at which a template first has these names one after the other.

    Args:
        text: The template.
        *names: A name, or a mapping such as `outputs` and one of its keys.
    """
    between = r"(?:\s*\.\s*|\s*\[\s*['\"])"
    found = re.search(rf"(?<![\w.]){between.join(map(re.escape, names))}(?!\w)", text)
    if found is None:
        return None
    return text.count("\n", 0, found.start()), found.start() - text.rfind("\n", 0, found.start()) - 1


def assigned_names(text: str) -> set[str]:
    """Return the names that a template gives a value to.

    Raises:
        InvalidTemplateError: The template does not parse.
    """
    with template_errors(text):
        return _assigned(parse(text))


def _references(tree: nodes.Template) -> References:
    outputs = _reads(tree, "outputs")
    subtracted: dict[str, str] = {}
    for node in tree.find_all(nodes.Sub):
        subtracted = _subtraction(node) | subtracted  # the outermost comes first and knows the whole name
    names = undeclared_names(tree) - {"outputs"}
    inputs, run = (_reads(tree, root) if root in names else Reads() for root in ("inputs", "run"))
    return References(outputs.names, outputs.fields, subtracted, names, outputs.any, inputs, run)


def _reads(tree: nodes.Template, root: str) -> Reads:
    walk = _Walk(root)
    walk.visit(tree, {root: ()})
    has_statements = not all(isinstance(part, nodes.Output) for part in tree.body)
    shadowed = has_statements and root in _assigned(tree)
    return Reads(walk.names(), () if shadowed else walk.fields(), shadowed or walk.any)


class _Walk:
    """One walk over a template's tree that collects what it reads from a mapping, the root."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._read: dict[_Path, None] = {}
        self._asked: set[_Path] = set()
        self.any = False

    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(path[0] for path in self._read if isinstance(path[0], str)))

    def fields(self) -> tuple[FieldAccess, ...]:
        """Return the parts that are read, but for those in or below one whose presence is asked for anywhere."""
        return tuple(
            FieldAccess(path[0], path[1:])
            for path in self._read
            if len(path) > 1
            and isinstance(path[0], str)
            and not any(path[:end] in self._asked for end in range(1, len(path) + 1))
        )

    def visit(self, node: nodes.Node, aliases: Mapping[str, _Path]) -> None:
        """Collect from a node and everything below it.

        Args:
            node: The node.
            aliases: The root, and loop variables that stand for parts of it.
        """
        match node:
            case nodes.Getattr() | nodes.Getitem() | nodes.Name() if path := _path(node, aliases):
                self._read[path] = None
                return
            case nodes.Name(name=self._root):
                self.any = True
            case nodes.Call(node=nodes.Getattr(node=nodes.Name(name=self._root), attr=name)) if hasattr(dict, name):
                self.any = True
                self._visit_all(node.iter_child_nodes(exclude=("node",)), aliases)
                return
            case nodes.Filter(name="default" | "d", node=nodes.Node() as subject):
                self._ask(_path(subject, aliases))
            case nodes.Test(name="defined" | "undefined", node=subject):
                self._ask(_path(subject, aliases))
            case nodes.Compare(
                expr=nodes.Const(value=str() as name), ops=[nodes.Operand(op="in" | "notin", expr=inner)]
            ):
                base = _path(inner, aliases)
                self._ask((*base, name) if base is not None else None)
            case nodes.For():
                self._visit_loop(node, aliases)
                return
            case _:
                pass
        self._visit_all(node.iter_child_nodes(), aliases)

    def _visit_all(self, children: Iterable[nodes.Node], aliases: Mapping[str, _Path]) -> None:
        for node in children:
            self.visit(node, aliases)

    def _visit_loop(self, loop: nodes.For, aliases: Mapping[str, _Path]) -> None:
        self._visit_all((loop.iter, *loop.else_), aliases)
        within = [*loop.body, *([loop.test] if loop.test is not None else [])]
        inner = {name: path for name, path in aliases.items() if name not in _assigned(loop)}
        path = _path(loop.iter, aliases)
        if path and isinstance(loop.target, nodes.Name) and not loop.recursive:
            name = loop.target.name
            inner |= {} if any(name in _assigned(node) for node in within) else {name: (*path, None)}
        self._visit_all(within, inner)

    def _ask(self, path: _Path | None) -> None:
        if path:
            self._asked.add(path)


def _path(node: nodes.Node, aliases: Mapping[str, _Path]) -> _Path | None:
    """Return the way from the root that an expression spells out; `None` for any other expression."""
    steps: list[Step] = []
    while isinstance(node, nodes.Getattr | nodes.Getitem):
        match node:
            case nodes.Getattr(attr=name):
                steps.append(name)
            case nodes.Getitem(arg=nodes.Const(value=str() | int() as value)) if not isinstance(value, bool):
                steps.append(value)
            case _:
                return None
        node = node.node
    if not isinstance(node, nodes.Name):
        return None
    base = aliases.get(node.name)
    return None if base is None else (*base, *reversed(steps))


def _assigned(tree: nodes.Node) -> set[str]:
    """Return the names that a part of a template gives a value to: in `set`, loops and the arguments of macros."""
    own_name = {tree.name} if isinstance(tree, nodes.Name) and tree.ctx != "load" else set[str]()
    return own_name | {node.name for node in tree.find_all(nodes.Name) if node.ctx != "load"}


def _subtraction(node: nodes.Node) -> dict[str, str]:
    """Return `{"a": "a-b-c"}` for `outputs.a - b - c`."""
    parts: list[str] = []
    while isinstance(node, nodes.Sub):
        right = node.right
        while isinstance(right, nodes.Getattr):
            right = right.node
        if not isinstance(right, nodes.Name):
            return {}
        parts.append(right.name)
        node = node.left
    path = _path(node, {"outputs": ()})
    if path is None or len(path) != 1 or not isinstance(name := path[0], str):
        return {}
    return {name: "-".join([name, *reversed(parts)])}
