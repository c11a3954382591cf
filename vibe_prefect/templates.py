"""Sandboxed Jinja: how a node's inputs refer to the outputs of its dependencies, such as `{{ outputs.digest.text }}`.

A name that is not defined is an error, never an empty string. A text that is one single expression yields that
expression's own value (a list stays a list); any other text yields text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

from jinja2 import StrictUndefined, TemplateError, nodes
from jinja2.exceptions import SecurityError
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


_ENVIRONMENT = _Sandbox(undefined=StrictUndefined, keep_trailing_newline=True)
_ENVIRONMENT.globals.pop("lipsum")  # random: the same inputs would not give the same result


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
        InvalidTemplateError: The template does not parse; the message names the line within it.
    """
    tree = _parse(text)
    found: dict[str, None] = {}
    subtracted: dict[str, str] = {}
    for node in tree.find_all((nodes.Getattr, nodes.Getitem)):
        if (name := _output_name(node)) is not None:
            found[name] = None
    for node in tree.find_all(nodes.Sub):
        subtracted |= _subtraction(node)
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
    try:
        expression = _single_expression(text)
        if expression is not None:
            value = _ENVIRONMENT.compile_expression(expression, undefined_to_none=False)(dict(values))
            if isinstance(value, StrictUndefined):
                str(value)
            return value
        return _template(text).render(values)
    except TemplateError as error:
        raise InvalidTemplateError(
            f"{error.message or type(error).__name__}, in the template {_excerpt(text)}"
        ) from error
    except (ArithmeticError, LookupError, MemoryError, RecursionError, TypeError, ValueError) as error:
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


def _parse(text: str) -> nodes.Template:
    try:
        return _ENVIRONMENT.parse(text)
    except RecursionError:
        raise InvalidTemplateError(f"nested too deeply, in the template {_excerpt(text)}") from None
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        place = f" (line {line} of the template)" if line and "\n" in text else ""
        raise InvalidTemplateError(f"{(error.message or '').rstrip('.')}{place}, in the template {_excerpt(text)}") from error


@lru_cache(maxsize=1024)
def _template(text: str) -> Any:
    return _ENVIRONMENT.from_string(text)


@lru_cache(maxsize=4096)
def _single_expression(text: str) -> str | None:
    stripped = text.strip()
    if not (stripped.startswith("{{") and stripped.endswith("}}")):
        return None
    body = _parse(stripped).body
    single = len(body) == 1 and isinstance(body[0], nodes.Output) and len(body[0].nodes) == 1
    if not single or isinstance(cast("nodes.Output", body[0]).nodes[0], nodes.TemplateData):
        return None
    return stripped[2:-2].removeprefix("-").removesuffix("-")


def _output_name(node: nodes.Node) -> str | None:
    match node:
        case nodes.Getattr(node=nodes.Name(name="outputs")):
            return node.attr
        case nodes.Getitem(node=nodes.Name(name="outputs"), arg=nodes.Const(value=str() as name)):
            return name
        case _:
            return None


def _subtraction(node: nodes.Node) -> dict[str, str]:
    sub = cast("nodes.Sub", node)
    left = _output_name(sub.left)
    right = sub.right
    while isinstance(right, nodes.Getattr):
        right = right.node
    return {left: f"{left}-{right.name}"} if left is not None and isinstance(right, nodes.Name) else {}


def _excerpt(text: str) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= 60 else f"{line[:57]}...")
