"""Checks of composites that run their children for each item of a list, before the run."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from vibe_prefect.core.models import WorkflowNode, WorkflowNodeType
from vibe_prefect.core.plan_tree import DataPath
from vibe_prefect.errors import Finding, shorten
from vibe_prefect.plan.checks.template_reads import TemplateCheck
from vibe_prefect.plan.graph import DEFAULT_ITEM
from vibe_prefect.plan.inputs.declared import better_name
from vibe_prefect.templates.names import references
from vibe_prefect.templates.texts import TEMPLATE_NAMES, InvalidTemplateError

_ONLY_WITH_ITEMS = {"item_name": "as", "key": "key", "max_items": "max_items", "min_completed": "min_completed"}
_EXAMPLE = "write one expression that yields a list, such as {{ outputs.outline.shots }}"


def has_item_fields(node: WorkflowNode) -> bool:
    """Return whether a node has any of the fields that `item_findings` checks."""
    return not (
        node.for_each is None
        and node.item_name is None
        and node.key is None
        and node.max_items is None
        and node.min_completed is None
        and node.concurrency is None
    )


def item_findings(node: WorkflowNode, check: TemplateCheck) -> Iterator[tuple[DataPath, Finding]]:
    """Yield what is wrong with the fields of a node about items, each with its path within the node.

    Args:
        node: The node.
        check: The check of its templates, with the items that it runs for itself.
    """
    if node.for_each is None:
        fields = (*_ONLY_WITH_ITEMS.items(), ("concurrency", "concurrency"))
        stated = [name for field, name in fields if getattr(node, field) is not None]
        yield from (
            ((name,), Finding.advised(f"{name!r} needs for_each", "add it, or leave this out")) for name in stated
        )
        return
    if node.type is not WorkflowNodeType.COMPOSITE:
        text = f"only a composite can have for_each, and this node is of the type {node.type}"
        yield ("for_each",), Finding.advised(text, "put it below a composite that has it")
        return
    if not node.children:
        yield ("for_each",), Finding.advised("there is nothing to run for each item", "give the composite children")
    if node.parameters.get("tool") is not None:
        text = "a composite with for_each gathers what its children make and runs no tool"
        yield ("parameters", "tool"), Finding.advised(text, "let a node that depends on it run the tool")
    yield from _name_findings(node.item_name or DEFAULT_ITEM, check.items, stated=node.item_name is not None)
    yield from _list_findings(node.for_each, check)
    if node.key is not None:
        yield from _key_findings(node.key, node.item_name or DEFAULT_ITEM, check)
    if node.min_completed is not None and node.max_items is not None and node.min_completed > node.max_items:
        text = f"{node.min_completed:,} items can never complete: max_items is {node.max_items:,}"
        yield ("min_completed",), Finding(text)


def _name_findings(name: str, outer: Collection[str], *, stated: bool) -> Iterator[tuple[DataPath, Finding]]:
    if (better := better_name(name)) is not None:
        yield ("as",), Finding.advised(f"{shorten(name)} is not a valid name of an item", better)
    if name in TEMPLATE_NAMES:
        yield ("as",), Finding.advised(f"templates have another {name!r}", "choose another name, such as 'item'")
    if name in outer:
        place = ("as",) if stated else ("for_each",)
        text = f"a composite around this one calls its items {name!r} too"
        yield place, Finding.advised(text, "give one of them another name with 'as'")


def _list_findings(text: str, check: TemplateCheck) -> Iterator[tuple[DataPath, Finding]]:
    from vibe_prefect.templates.language import is_expression  # with Jinja: few plans have lists

    findings = [*check.findings(text, raw=False)]
    if not findings and not is_expression(text):
        findings = [Finding.advised(f"expected a list, found the text {shorten(text)}", _EXAMPLE)]
    yield from ((("for_each",), finding) for finding in findings)


def _key_findings(text: str, name: str, check: TemplateCheck) -> Iterator[tuple[DataPath, Finding]]:
    findings = [*check._replace(items=(*check.items, name)).findings(text, raw=False)]
    yield from ((("key",), finding) for finding in findings)
    try:
        names = references(text).names
    except InvalidTemplateError:
        return
    if not findings and name not in names:
        found = f"{shorten(text)} would name all items alike"
        yield ("key",), Finding.advised(found, f"name a part of the item, such as {{{{ {name}.id }}}}")
