"""Templates as texts: which texts are templates, and what they may name. Jinja itself is not needed for that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from vibe_prefect.errors import UsageError

LITERAL_BRACES = "; braces that are text are written {{ '{{' }}, or between {% raw %} and {% endraw %}"
"""Ends the messages on templates that may not have been meant as such."""

MAX_TOKENS = 20_000
"""The longest template, in the tokens that Jinja reads it as; a text between two expressions is one."""

_CONTEXT_KEYS = {
    "outputs": "previous_outputs",
    "inputs": "inputs",
    "run": "run",
    "vibe": "vibe",
    "plan_id": "plan_id",
    "node_id": "node_id",
    "description": "node_description",
}

TEMPLATE_NAMES = frozenset(_CONTEXT_KEYS)
"""Names that a template in a node's inputs may use."""


class InvalidTemplateError(UsageError, ValueError):
    """A template that does not parse, names what is not there, or asks for what the sandbox refuses."""

    line: int | None = None
    """Line of the template, from 1; `None` where it is not known."""


def is_template(value: object) -> bool:
    """Tell whether a value is text that Jinja would change."""
    return isinstance(value, str) and ("{{" in value or "{%" in value)


def template_values(context: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a template can name, each name with its value, as far as the context of a tool's call has it.

    Args:
        context: A `ToolContext`.
    """
    values: dict[str, Any] = {"outputs": {}, **context.get("items", {})}
    values |= {name: context[key] for name, key in _CONTEXT_KEYS.items() if key in context}
    if absent := context.get("absent"):
        values["outputs"] = {**values["outputs"], **dict.fromkeys(absent)}
    if "vibe" in values:  # plain data: a model would hand the template methods such as `parse_raw`, which reads pickles
        values["vibe"] = values["vibe"].model_dump()
    return values


_WITHOUT_TEMPLATES = frozenset({int, float, bool, type(None)})
"""Types that most values have which are not text. Asking whether they are mappings costs more than all else."""

PlacedTemplate = tuple[tuple[str | int, ...], str]
"""A template within a value, with its path of keys and indices."""


def walk_templates(value: Any, path: tuple[str | int, ...] = ()) -> list[PlacedTemplate]:
    """Return each template within nested dicts and lists, with its path of keys and indices."""
    if isinstance(value, str):
        return [(path, value)] if is_template(value) else []
    found: list[PlacedTemplate] = []
    _collect_templates(value, path, found)
    return found


def _collect_templates(value: Any, path: tuple[str | int, ...], found: list[PlacedTemplate]) -> None:
    members: Iterable[tuple[Any, Any]]
    if isinstance(value, (list, tuple)):
        members = enumerate(cast("list[Any]", value))
    elif isinstance(value, (dict, Mapping)):
        members = cast("Mapping[Any, Any]", value).items()
    else:
        return
    for key, member in members:
        if isinstance(member, str):
            if "{{" in member or "{%" in member:
                found.append(((*path, key), member))
        elif type(member) not in _WITHOUT_TEMPLATES:
            _collect_templates(member, (*path, key), found)
