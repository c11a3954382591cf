"""Sandboxed Jinja: how a node's inputs refer to the outputs of its dependencies, such as `{{ outputs.digest.text }}`.

A name that is not defined is an error, never an empty string. A text that is one single expression yields that
expression's own value (a list stays a list); any other text yields text.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

from jinja2 import StrictUndefined, TemplateError, Undefined, nodes
from jinja2.exceptions import SecurityError, TemplateSyntaxError, UndefinedError
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment

from vibe_prefect.errors import UsageError

MAX_REPEATED = 1_000_000
"""The longest text or list that `*` may make in a template."""

NO_COMMENTS = "\udfff"
"""Stands for Jinja's comment marks, so that `{#` is text. No plan and no file can hold it: it is half a character."""

LITERAL_BRACES = "; braces that are text are written {{ '{{' }}, or between {% raw %} and {% endraw %}"
"""Ends the messages on templates that may not have been meant as such."""

TEMPLATE_NAMES = frozenset({"outputs", "vibe", "plan_id", "node_id", "description"})
"""What a template in a node's inputs can name."""


class InvalidTemplateError(UsageError, ValueError):
    """A template that does not parse, names what is not there, or asks for what the sandbox refuses."""


class _Sandbox(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"*", "**"})

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return a mapping's value before its method of that name: `outputs.digest.items` means the data."""
        if isinstance(obj, Mapping) and attribute in obj:
            return cast("Mapping[str, Any]", obj)[attribute]
        return super().getattr(obj, attribute)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Allow attributes of plain data and of Jinja's own objects alone: a model's methods could load code."""
        home = type(obj).__module__.split(".")[0]
        return home in ("builtins", "jinja2") and super().is_safe_attribute(obj, attr, value)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Refuse products that would fill the memory; Jinja's sandbox bounds only `range`."""
        if operator == "**":
            raise SecurityError("'**' is not available in templates")
        for repeated, times in ((left, right), (right, left)):
            if (
                isinstance(repeated, str | list | tuple)
                and isinstance(times, int)
                and (len(cast("str", repeated)) * times > MAX_REPEATED)
            ):
                raise SecurityError(f"'*' would make more than {MAX_REPEATED:,} elements")
        return super().call_binop(context, operator, left, right)


def _data(value: Any) -> Any:
    """Return what an expression yields as plain data: what is lazy becomes a list, marked-up text plain text."""
    match value:
        case Undefined():
            raise UndefinedError(value._undefined_message)  # pyright: ignore[reportPrivateUsage]
        case str():
            return str(value)
        case Mapping():
            return {key: _data(item) for key, item in cast("Mapping[Any, Any]", value).items()}
        case bytes():
            return value
        case Collection() | Iterator():
            return [_data(item) for item in cast("Iterator[Any]", value)]
        case _ if callable(value) or type(value).__module__.startswith("jinja2"):
            raise SecurityError(f"the template yields a {type(value).__name__}, which is no data")
        case _:
            return value


def _printed(value: Any) -> Any:
    """Return what a text shows for a value; an inline `if` without `else` shows nothing, as everywhere in Jinja."""
    return value if isinstance(value, Undefined) else _data(value)


_ENVIRONMENT = _Sandbox(
    undefined=StrictUndefined,
    keep_trailing_newline=True,
    finalize=_printed,
    comment_start_string=f"{{#{NO_COMMENTS}",
    comment_end_string=f"{NO_COMMENTS}#}}",
)
# Random: the same inputs would not give the same result.
_ENVIRONMENT.globals.pop("lipsum")
_ENVIRONMENT.filters.pop("random")


Step = str | int | None
"""One step from an output to a part of it: a field, an index, or `None` for each item in turn."""


@dataclass(frozen=True, slots=True)
class FieldAccess:
    """A part of a node's output that a template needs to be there."""

    output: str
    """The node's id."""

    steps: tuple[Step, ...]
    """The way from the output to the part; never empty."""


@dataclass(frozen=True, slots=True)
class References:
    """What a template names."""

    outputs: tuple[str, ...]
    """Ids of the nodes whose outputs it names literally, in the order of appearance."""

    fields: tuple[FieldAccess, ...]
    """Parts of these outputs, in the order of appearance; without those whose presence the template asks for."""

    subtracted: Mapping[str, str]
    """`outputs.blog-post` reads as `outputs.blog - post`: for such an id, what was probably meant."""

    names: frozenset[str]
    """All other names at the top level that it expects to be given."""


def is_template(value: object) -> bool:
    """Tell whether a value is text that Jinja would change."""
    return isinstance(value, str) and ("{{" in value or "{%" in value)


@lru_cache(maxsize=4096)
def references(text: str) -> References:
    """Return what a template names.

    Raises:
        InvalidTemplateError: The template does not parse, or names a filter that does not exist; the message names
            the line within it.
    """
    with _own_errors(text):
        return _references(_ENVIRONMENT.parse(text))


def _references(tree: nodes.Template) -> References:
    walk = _OutputWalk()
    walk.visit(tree, {})
    subtracted: dict[str, str] = {}
    for node in tree.find_all(nodes.Sub):
        subtracted = _subtraction(node) | subtracted  # the outermost comes first and knows the whole name
    names = find_undeclared_variables(tree) - {"outputs"}
    shadowed = "outputs" in _assigned(tree)
    return References(walk.outputs(), () if shadowed else walk.fields(), subtracted, frozenset(names))


_Path = tuple[Step, ...]
"""A way from `outputs`: a node's id and then the steps within its output."""


class _OutputWalk:
    """One walk over a template's tree that collects what it reads from `outputs`."""

    def __init__(self) -> None:
        self._read: dict[_Path, None] = {}
        self._asked: set[_Path] = set()

    def outputs(self) -> tuple[str, ...]:
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
            aliases: Loop variables that stand for parts of outputs.
        """
        match node:
            case nodes.Getattr() | nodes.Getitem() | nodes.Name() if path := _path(node, aliases):
                self._read[path] = None
                return
            case nodes.Call(node=nodes.Getattr(node=nodes.Name(name="outputs"), attr=name)) if hasattr(dict, name):
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

    def _visit_all(self, found: Iterable[nodes.Node], aliases: Mapping[str, _Path]) -> None:
        for node in found:
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
    """Return the way from `outputs` that an expression spells out; `None` for any other expression."""
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
    base = () if node.name == "outputs" else aliases.get(node.name)
    return None if base is None else (*base, *reversed(steps))


def _assigned(tree: nodes.Node) -> set[str]:
    """Return the names that a part of a template gives a value to: in `set`, loops and the arguments of macros."""
    own = {tree.name} if isinstance(tree, nodes.Name) and tree.ctx != "load" else set[str]()
    return own | {node.name for node in tree.find_all(nodes.Name) if node.ctx != "load"}


def render(text: str, values: Mapping[str, Any]) -> Any:
    """Fill a template in.

    Args:
        text: The template.
        values: What it may name, by name.

    Returns:
        The expression's own value when the text is one single expression, else text.

    Raises:
        InvalidTemplateError: A name is not defined, or the sandbox refuses an operation.
    """
    with _own_errors(text):
        expression = _single_expression(text)
        if expression is None:
            return _template(text).render(values)
        return _data(_ENVIRONMENT.compile_expression(expression, undefined_to_none=False)(dict(values)))


@contextmanager
def _own_errors(text: str) -> Generator[None]:
    try:
        yield
    except (RecursionError, SyntaxError):  # Python's own compiler has limits too
        raise InvalidTemplateError(f"nested too deeply, in the template {_excerpt(text)}") from None
    except TemplateError as error:
        hint = LITERAL_BRACES if isinstance(error, TemplateSyntaxError) else ""
        line = getattr(error, "lineno", None)
        place = f" (line {line} of the template)" if line and "\n" in text else ""
        message = (error.message or type(error).__name__).rstrip(".")
        raise InvalidTemplateError(f"{message}{place}, in the template {_excerpt(text)}{hint}") from error
    except (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError) as error:
        raise InvalidTemplateError(f"{type(error).__name__}: {error}, in the template {_excerpt(text)}") from error


def render_all(value: Any, values: Mapping[str, Any]) -> Any:
    """Fill in every template within nested dicts and lists; the value itself is not changed."""
    if isinstance(value, str):
        return render(value, values) if is_template(value) else value
    if isinstance(value, Mapping):
        return {key: render_all(item, values) for key, item in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [render_all(item, values) for item in cast("list[Any]", value)]
    return value


def walk_templates(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield each template within nested dicts and lists, with its path of keys and indices."""
    if isinstance(value, str):
        if is_template(value):
            yield path, value
    elif isinstance(value, Mapping):
        for key, item in cast("Mapping[Any, Any]", value).items():
            yield from walk_templates(item, (*path, key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(cast("list[Any]", value)):
            yield from walk_templates(item, (*path, index))


@lru_cache(maxsize=1024)
def _template(text: str) -> Any:
    return _ENVIRONMENT.from_string(text)


@lru_cache(maxsize=4096)
def _single_expression(text: str) -> str | None:
    stripped = text.strip()
    if not (stripped.startswith("{{") and stripped.endswith("}}")):
        return None
    body = _ENVIRONMENT.parse(stripped).body
    single = len(body) == 1 and isinstance(body[0], nodes.Output) and len(body[0].nodes) == 1
    if not single or isinstance(cast("nodes.Output", body[0]).nodes[0], nodes.TemplateData):
        return None
    inner = stripped[2:-2]
    return inner[1:].removesuffix("-") if inner[0] in "-+" else inner.removesuffix("-")


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
    path = _path(node, {})
    if path is None or len(path) != 1 or not isinstance(name := path[0], str):
        return {}
    return {name: "-".join([name, *reversed(parts)])}


def _excerpt(text: str) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= 60 else f"{line[:57]}...")
