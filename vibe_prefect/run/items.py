"""The items of a composite that runs its children for each of them: from its templates to their names and values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from vibe_prefect.errors import shorten
from vibe_prefect.plan.compiler import Backing, CompiledNode
from vibe_prefect.plan.graph import DEFAULT_ITEM
from vibe_prefect.plan.unfold import DEFAULT_MAX_ITEMS, Item, ItemsError
from vibe_prefect.templates.filling import fill_in
from vibe_prefect.templates.language import InvalidTemplateError

MAX_NAME = 60
"""Characters of an item's name that are kept."""

SIMULATED_ITEMS = 3
"""Number of items that the simulation runs where the list is not known."""

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]+")


async def items_of(composite: CompiledNode, values: Mapping[str, Any]) -> list[Item]:
    """Return the items that a composite runs its children for.

    Args:
        composite: The composite with `for_each`; its dependencies have completed.
        values: What its templates may name, by name.

    Raises:
        InvalidTemplateError: A template cannot be filled in.
        ItemsError: It yields no list, a list that is too long, or two items of one name.
    """
    try:
        items = await _listed(composite, values)
    except (InvalidTemplateError, ItemsError):
        if composite.backing is not Backing.SIMULATION:
            raise
        count = min(SIMULATED_ITEMS, composite.node.max_items or DEFAULT_MAX_ITEMS)
        return [Item(str(index), {}, is_named=False) for index in range(count)]
    return await _named(composite, items, values)


async def _listed(composite: CompiledNode, values: Mapping[str, Any]) -> Sequence[Any]:
    node = composite.node
    assert node.for_each is not None
    try:
        listed = await fill_in(node.for_each, values)
    except InvalidTemplateError as error:
        raise InvalidTemplateError(f"for_each: {error}") from error
    if not isinstance(listed, list):
        raise ItemsError(f"for_each: expected a list, found {shorten(listed)}")
    items, most = cast("list[Any]", listed), node.max_items or DEFAULT_MAX_ITEMS
    if len(items) > most:
        raise ItemsError(f"for_each: the list has {len(items):,} items; max_items is {most:,}")
    return items


async def _named(composite: CompiledNode, items: Sequence[Any], values: Mapping[str, Any]) -> list[Item]:
    template, item_name = composite.node.key, composite.node.item_name or DEFAULT_ITEM
    if template is None:
        return [Item(str(index), item, is_named=False) for index, item in enumerate(items)]
    named: dict[str, Item] = {}
    for index, item in enumerate(items):
        try:
            text = str(await fill_in(template, {**values, item_name: item}))
        except InvalidTemplateError as error:
            raise InvalidTemplateError(f"key: item {index + 1}: {error}") from error
        name = _NOT_IN_NAMES.sub("-", text).strip("-")[:MAX_NAME]
        if not name:
            raise ItemsError(f"key: item {index + 1} has no name: {shorten(text)} holds no letter and no digit")
        if name in named:
            first = list(named).index(name) + 1
            raise ItemsError(f"key: the items {first} and {index + 1} have the same name {name!r}; name them apart")
        named[name] = Item(name, item, is_named=True)
    return list(named.values())
