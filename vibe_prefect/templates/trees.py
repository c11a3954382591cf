"""Names in any template, from the tree that Jinja makes of it. Nothing is evaluated for that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from jinja2 import nodes

from vibe_prefect.errors import shorten
from vibe_prefect.templates.language import parse, template_errors, undeclared_names
from vibe_prefect.templates.reads import FieldAccess, Path, Reads, References, Step


def tree_references(text: str) -> References:
    """Return what a template names.

    Raises:
        InvalidTemplateError: The template does not parse, or names a filter that does not exist; the message names
            the line within it.
    """
    with template_errors(text):
        return _references(parse(text))


def assigned_names(text: str) -> set[str]:
    """Return the names that a template gives a value to.

    Raises:
        InvalidTemplateError: The template does not parse.
    """
    with template_errors(text):
        return _assigned(parse(text))


def surplus(text: str) -> str | None:
    """Return what stands in a template besides one expression; `None` for nothing.

    Raises:
        InvalidTemplateError: The template does not parse.
    """
    tree = parse(text)
    if not all(isinstance(node, nodes.Output) for node in tree.body):
        return "a statement ({% ... %})"
    parts = [part for node in tree.body if isinstance(node, nodes.Output) for part in node.nodes]
    texts = [part for part in parts if isinstance(part, nodes.TemplateData)]
    if len(parts) - len(texts) > 1:
        return f"{len(parts) - len(texts)} expressions"
    return f"the text {shorten(texts[0].data)} beside it" if texts else None


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
        self._read: dict[Path, None] = {}
        self._asked: set[Path] = set()
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

    def visit(self, node: nodes.Node, aliases: Mapping[str, Path]) -> None:
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

    def _visit_all(self, children: Iterable[nodes.Node], aliases: Mapping[str, Path]) -> None:
        for node in children:
            self.visit(node, aliases)

    def _visit_loop(self, loop: nodes.For, aliases: Mapping[str, Path]) -> None:
        self._visit_all((loop.iter, *loop.else_), aliases)
        within = [*loop.body, *([loop.test] if loop.test is not None else [])]
        inner = {name: path for name, path in aliases.items() if name not in _assigned(loop)}
        path = _path(loop.iter, aliases)
        if path and isinstance(loop.target, nodes.Name) and not loop.recursive:
            name = loop.target.name
            inner |= {} if any(name in _assigned(node) for node in within) else {name: (*path, None)}
        self._visit_all(within, inner)

    def _ask(self, path: Path | None) -> None:
        if path:
            self._asked.add(path)


def _path(node: nodes.Node, aliases: Mapping[str, Path]) -> Path | None:
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
