"""Sandboxed Jinja: how a node's inputs refer to the outputs of its dependencies, such as `{{ outputs.digest.text }}`.

A name that is not defined is an error, never an empty string. A text that is one single expression yields that
expression's own value (a list stays a list); any other text yields text.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

from jinja2 import StrictUndefined, TemplateError, Undefined, nodes
from jinja2.exceptions import SecurityError, UndefinedError
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment

from vibe_prefect.errors import UsageError

MAX_REPEATED = 1_000_000
"""The longest text or list that `*` may make in a template."""

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


_ENVIRONMENT = _Sandbox(undefined=StrictUndefined, keep_trailing_newline=True, finalize=_printed)
# Random: the same inputs would not give the same result.
_ENVIRONMENT.globals.pop("lipsum")
_ENVIRONMENT.filters.pop("random")


@dataclass(frozen=True, slots=True)
class References:
    """What a template names."""

    outputs: tuple[str, ...]
    """Ids of the nodes whose outputs it names literally, in the order of appearance."""

    subtracted: Mapping[str, str]
    """`outputs.blog-post` reads as `outputs.blog - post`: for such an id, what was probably meant."""

    names: frozenset[str]
    """All other names at the top level that it expects to be given."""


def is_template(value: object) -> bool:
    """Tell whether a value is text that Jinja would change."""
    return isinstance(value, str) and ("{{" in value or "{%" in value or "{#" in value)


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
    found: dict[str, None] = {}
    subtracted: dict[str, str] = {}
    for node in tree.find_all((nodes.Getattr, nodes.Getitem)):
        if (name := _output_name(node)) is not None:
            found[name] = None
    for node in tree.find_all(nodes.Sub):
        subtracted = _subtraction(node) | subtracted  # the outermost comes first and knows the whole name
    names = find_undeclared_variables(tree) - {"outputs"}
    return References(tuple(found), subtracted, frozenset(names))


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
        line = getattr(error, "lineno", None)
        place = f" (line {line} of the template)" if line and "\n" in text else ""
        message = (error.message or type(error).__name__).rstrip(".")
        raise InvalidTemplateError(f"{message}{place}, in the template {_excerpt(text)}") from error
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


def _output_name(node: nodes.Node) -> str | None:
    match node:
        case nodes.Getattr(node=nodes.Name(name="outputs")):
            return node.attr
        case nodes.Getitem(node=nodes.Name(name="outputs"), arg=nodes.Const(value=str() as name)):
            return name
        case _:
            return None


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
    name = _output_name(node)
    return {name: "-".join([name, *reversed(parts)])} if name is not None else {}


def _excerpt(text: str) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= 60 else f"{line[:57]}...")
