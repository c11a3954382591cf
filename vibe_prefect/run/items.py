"""The items of a composite that runs its children for each of them: from its templates to their names and values."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, cast

from vibe_prefect.errors import UsageError, shorten
from vibe_prefect.plan.compiler import CompiledNode, CompiledPlan
from vibe_prefect.plan.graph import DEFAULT_ITEM
from vibe_prefect.plan.unfold import DEFAULT_MAX_ITEMS, Item, ItemsError, UnfoldedPlan
from vibe_prefect.templates.filling import fill_in
from vibe_prefect.templates.names import references
from vibe_prefect.templates.texts import InvalidTemplateError, template_values

MAX_NAME = 60
"""Characters of an item's name that are kept."""

SIMULATED_ITEMS = 3
"""Number of items that the simulation runs where the list is not known."""

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]+")


def item_values(compiled: CompiledPlan, composite: CompiledNode, outputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the templates of a composite may name, by name.

    Args:
        compiled: The plan as written, with the values of its run.
        composite: The composite with `for_each`.
        outputs: The output of each of its dependencies, by its id as written.
    """
    parts = compiled.key_parts.get(composite.template or composite.id)
    inputs, facts = parts.named.of(compiled.values) if parts else ({}, {})
    plan = compiled.plan
    context = {
        "previous_outputs": outputs,
        "inputs": inputs,
        "run": facts,
        "vibe": plan.source_vibe,
        "plan_id": plan.id,
        "node_description": composite.node.description,
        "items": composite.scope,
    }
    return template_values(context)


async def unfold_known(
    compiled: CompiledPlan, output: Callable[[CompiledNode], Awaitable[tuple[Any] | None]]
) -> UnfoldedPlan:
    """Return a plan with the nodes of all lists that can be known without running anything.

    Args:
        compiled: The plan as written, with the values of its run.
        output: Returns the output of a node in a tuple; `None` where it has none yet.
    """
    unfolded = UnfoldedPlan(compiled)
    pending = [node for node in unfolded.nodes.values() if node.node.for_each is not None]
    while pending:
        composite = pending.pop()
        needed = _read_by(composite)
        outputs = {
            name: await output(unfolded.nodes[id])
            for name, id in unfolded.outputs(composite)
            if needed is None or name in needed
        }
        known = {name: made[0] for name, made in outputs.items() if made is not None}
        if len(known) < len(outputs):
            continue
        try:
            instances = unfolded.unfold(composite, await items_of(composite, item_values(compiled, composite, known)))
        except UsageError:  # a run of the plan says so
            continue
        nodes = (node for instance in instances for node in instance.nodes.values())
        pending += [node for node in nodes if node.node.for_each is not None]
    return unfolded


def _read_by(composite: CompiledNode) -> frozenset[str] | None:
    """Return the ids of the nodes whose outputs a list and its names are made of; `None` where that cannot be told."""
    named = [references(text) for text in (composite.node.for_each, composite.node.key) if text is not None]
    if any(names.any_output for names in named):
        return None
    return frozenset(id for names in named for id in names.outputs)


async def items_of(composite: CompiledNode, values: Mapping[str, Any], *, simulated: bool = False) -> list[Item]:
    """Return the items that a composite runs its children for.

    Args:
        composite: The composite with `for_each`; its dependencies have completed.
        values: What its templates may name, by name.
        simulated: Whether the list may come from a node that was simulated, so that there may be none.

    Raises:
        InvalidTemplateError: A template cannot be filled in.
        ItemsError: It yields no list, a list that is too long, or two items of one name.
    """
    try:
        items = await _listed(composite, values)
    except (InvalidTemplateError, ItemsError):
        if not simulated:
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
