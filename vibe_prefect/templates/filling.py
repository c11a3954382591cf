"""Fills in the templates of a node's inputs within bounds, whatever they do: light ones at once, others elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from vibe_prefect.core.plan_tree import dotted
from vibe_prefect.templates.language import excerpt, render
from vibe_prefect.templates.names import references
from vibe_prefect.templates.texts import InvalidTemplateError, is_template
from vibe_prefect.templates.weight import is_light

SECONDS = 2
"""Computing time that one template may take, in seconds."""

MAX_READ_HERE = 10_000
"""The longest template that is read on the event loop, in characters; reading it takes some 10 ms at most, once."""


async def fill_in(text: str, values: Mapping[str, Any]) -> Any:
    """Fill in one template.

    Args:
        text: The template.
        values: What it may name, by name.

    Returns:
        The expression's own value when the text is one single expression, else text.

    Raises:
        InvalidTemplateError: A name is not defined, the sandbox refuses an operation, or the template takes too long or
            too much memory; trying again cannot help.
    """
    if len(text) <= MAX_READ_HERE:
        light, used_values = _examine(text, values)
    else:
        from anyio.to_thread import run_sync

        light, used_values = await run_sync(_examine, text, values)
    return render(text, values) if light else await render_bounded(text, used_values)


async def render_bounded(text: str, values: Mapping[str, Any]) -> Any:
    """Fill in a template in a helper process.

    Args:
        text: The template.
        values: What it may name, by name: JSON data.

    Raises:
        InvalidTemplateError: As for `fill_in`; also where the template yields what JSON cannot hold.
        ToolError: No helper process works.
    """
    from vibe_prefect.templates.bounded_calls import ExceededError, call_bounded  # with processes, threads, asyncio

    try:
        return await call_bounded(render, (text, values), SECONDS)
    except ExceededError as error:
        raise InvalidTemplateError(f"{error}, in {excerpt(text)}") from None


async def fill_in_all(value: Any, values: Mapping[str, Any], place: tuple[str | int, ...] = ()) -> Any:
    """Fill in every template within nested dicts and lists; the value itself is not changed.

    Args:
        value: The text, or data that hold texts.
        values: What the templates may name, by name.
        place: Where the value stands, for messages.

    Raises:
        InvalidTemplateError: As for `fill_in`; the message begins with the place of the template.
    """
    if isinstance(value, str):
        return await _fill_in_place(value, values, place) if is_template(value) else value
    if isinstance(value, Mapping):
        mapping = cast("Mapping[Any, Any]", value)
        return {key: await fill_in_all(item, values, (*place, key)) for key, item in mapping.items()}
    if isinstance(value, list | tuple):
        items = enumerate(cast("list[Any]", value))
        return [await fill_in_all(item, values, (*place, index)) for index, item in items]
    return value


async def _fill_in_place(text: str, values: Mapping[str, Any], path: tuple[str | int, ...]) -> Any:
    try:
        return await fill_in(text, values)
    except InvalidTemplateError as error:
        if not path:
            raise
        raise InvalidTemplateError(f"{dotted(path)}: {error}") from error


def _examine(text: str, values: Mapping[str, Any]) -> tuple[bool, Mapping[str, Any]]:
    light = is_light(text, values)
    return light, values if light else _read_by(text, values)


def _read_by(text: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that a template reads, so that no others are carried to where it is filled in."""
    template_names = references(text)
    used_values = {name: value for name, value in values.items() if name in template_names.names}
    outputs = values.get("outputs")
    if template_names.any_output or not isinstance(outputs, Mapping):
        return used_values | ({"outputs": outputs} if "outputs" in values else {})
    outputs_by_id = cast("Mapping[str, Any]", outputs)
    return used_values | {"outputs": {id: outputs_by_id[id] for id in template_names.outputs if id in outputs_by_id}}
