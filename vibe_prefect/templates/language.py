"""Sandboxed Jinja: how a node's inputs refer to the outputs of its dependencies, such as `{{ outputs.digest.text }}`.

A name that is not defined is an error, never an empty string. A text that is one single expression yields that
expression's own value (a list stays a list); any other text yields text.

Reading a template evaluates nothing. `render` is not bounded: `template_filling` is what bounds it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from math import inf
from typing import Any, cast

from jinja2 import StrictUndefined, TemplateError, Undefined, nodes
from jinja2.compiler import CodeGenerator
from jinja2.exceptions import SecurityError, TemplateSyntaxError, UndefinedError
from jinja2.ext import Extension
from jinja2.lexer import TOKEN_FLOAT, Token, TokenStream
from jinja2.meta import TrackingCodeGenerator
from jinja2.sandbox import ImmutableSandboxedEnvironment

from vibe_prefect.templates.markdown import html_of
from vibe_prefect.templates.texts import LITERAL_BRACES, MAX_TOKENS, InvalidTemplateError

MAX_REPEATED = 1_000_000
"""The longest text or list that `*` may make in a template."""

NO_COMMENTS = "\udfff"
"""Stands for Jinja's comment marks, so that `{#` is text. No plan and no file can hold it: it is half a character."""


class _Unfolded(CodeGenerator):
    """Writes a template's code without evaluating constants: Jinja's own folds them, however large they become."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.optimizer = None

    def _output_child_to_const(self, node: nodes.Expr, frame: Any, finalize: Any) -> str:
        if not isinstance(node, nodes.TemplateData):
            raise nodes.Impossible
        return super()._output_child_to_const(node, frame, finalize)

    def visit_EvalContextModifier(self, node: nodes.EvalContextModifier, frame: Any) -> None:  # noqa: N802 - Jinja's
        """Write the code of `{% autoescape %}`, whose value Jinja would look up here."""
        if not all(isinstance(option.value, nodes.Const) for option in node.options):
            self.fail("autoescape takes true or false", node.lineno)
        super().visit_EvalContextModifier(node, frame)


class _Names(_Unfolded, TrackingCodeGenerator):
    """Finds the names that a template does not define itself."""


class _TokenCheck(Extension):
    """Refuses templates that would take long to read, and numbers that Python reads as infinite."""

    def filter_stream(self, stream: TokenStream) -> Iterator[Token]:  # pyright: ignore[reportIncompatibleMethodOverride] - Jinja takes either
        """Pass the first `MAX_TOKENS` tokens on."""
        for count, token in enumerate(stream):
            if count == MAX_TOKENS:
                raise TemplateSyntaxError(f"the template has more than {MAX_TOKENS:,} parts", token.lineno)
            if token.type == TOKEN_FLOAT and float(token.value) == inf:
                raise TemplateSyntaxError("a number is too large", token.lineno)
            yield token


class _Sandbox(ImmutableSandboxedEnvironment):
    code_generator_class = _Unfolded
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
            raise UndefinedError(value._undefined_message)  # noqa: SLF001 - Jinja's own words  # pyright: ignore[reportPrivateUsage]
        case str():
            return str(value)
        case Mapping():
            return {key: _data(item) for key, item in cast("Mapping[Any, Any]", value).items()}
        case bytes():
            return value
        case Collection() | Iterator():
            return [_data(item) for item in cast("Iterator[Any]", value)]
        case _ if callable(value) or type(value).__module__.startswith("jinja2"):
            raise SecurityError(f"the template yields a {type(value).__name__}, which is not data")
        case _:
            return value


def _printed(value: Any) -> Any:
    """Return what a text shows for a value; an inline `if` without `else` shows nothing, as everywhere in Jinja."""
    return value if isinstance(value, Undefined) else _data(value)


_ENVIRONMENT = _Sandbox(
    undefined=StrictUndefined,
    keep_trailing_newline=True,
    finalize=_printed,
    optimized=False,
    extensions=[_TokenCheck],
    comment_start_string=f"{{#{NO_COMMENTS}",
    comment_end_string=f"{NO_COMMENTS}#}}",
)
# Random: the same inputs would not give the same result.
_ENVIRONMENT.globals.pop("lipsum")
_ENVIRONMENT.filters.pop("random")
_ENVIRONMENT.filters["markdown"] = html_of


def is_expression(text: str) -> bool:
    """Tell whether a template that parses is one single expression, which yields its own value and not text."""
    return _single_expression(text) is not None


def parse(text: str) -> nodes.Template:
    """Read a template; nothing in it is evaluated.

    Raises:
        InvalidTemplateError: The template does not parse; the message names the line within it.
    """
    with template_errors(text):
        return _ENVIRONMENT.parse(text)


def lex(text: str) -> list[tuple[str, str]]:
    """Return the tokens of a template, blanks included, each with its kind as Jinja names it.

    Raises:
        InvalidTemplateError: It cannot be read as tokens; the message names the line within it.
    """
    with template_errors(text):
        return [(kind, token) for _, kind, token in _ENVIRONMENT.lex(text)]


def undeclared_names(tree: nodes.Template) -> frozenset[str]:
    """Return the names that a template expects to be given.

    Raises:
        TemplateError: The template names a filter or a test that does not exist.
    """
    generator = _Names(_ENVIRONMENT)
    generator.visit(tree)
    return frozenset(generator.undeclared_identifiers)


def render(text: str, values: Mapping[str, Any]) -> Any:
    """Fill a template in, in this thread and however long it takes.

    Args:
        text: The template.
        values: What it may name, by name.

    Returns:
        The expression's own value when the text is one single expression, else text.

    Raises:
        InvalidTemplateError: A name is not defined, or the sandbox refuses an operation.
        MemoryError: There was not enough memory.
    """
    with template_errors(text):
        return _compiled(text)(values)


@contextmanager
def template_errors(text: str) -> Generator[None]:
    """Make an `InvalidTemplateError` of what Jinja and Python raise on a template, with an excerpt of it."""
    try:
        yield
    except InvalidTemplateError:
        raise
    except (RecursionError, SyntaxError):  # Python's own compiler has limits too
        raise InvalidTemplateError(f"nested too deeply, in {excerpt(text)}") from None
    except MemoryError as error:
        if not error.args:
            raise
        raise InvalidTemplateError(f"nested too deeply, in {excerpt(text)}") from None  # its parser says it this way
    except TemplateError as error:
        hint = LITERAL_BRACES if isinstance(error, TemplateSyntaxError) else ""
        line = getattr(error, "lineno", None)
        position = f" (line {line} of the template)" if line and "\n" in text else ""
        message = (error.message or type(error).__name__).rstrip(".")
        invalid = InvalidTemplateError(f"{message}{position}, in {excerpt(text)}{hint}")
        invalid.line = line
        raise invalid from error
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise InvalidTemplateError(f"{type(error).__name__}: {error}, in {excerpt(text)}") from error


@lru_cache(maxsize=1024)
def _compiled(text: str) -> Callable[[Mapping[str, Any]], Any]:
    expression = _single_expression(text)
    if expression is None:
        return _ENVIRONMENT.from_string(text).render
    evaluate = _ENVIRONMENT.compile_expression(expression, undefined_to_none=False)
    return lambda values: _data(evaluate(dict(values)))


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


def excerpt(text: str) -> str:
    """Return what a message calls a template."""
    line = " ".join(text[:1_000].split())
    return f"the template {line if len(line) <= 60 else f'{line[:57]}...'!r}"
