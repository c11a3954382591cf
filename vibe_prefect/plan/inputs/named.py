"""Inputs, facts and items that a node names: they enter its key, and are all of them that it is given."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from vibe_prefect.core.models import WorkflowNode
from vibe_prefect.core.run_values import FACT_NAMES, NOTHING_NAMED, NamedValues
from vibe_prefect.plan.backing import NodeBinding
from vibe_prefect.templates.names import Reads, References, references
from vibe_prefect.templates.texts import InvalidTemplateError, walk_templates


def named_values(binding: NodeBinding, declared: Collection[str], items: Collection[str] = ()) -> NamedValues:
    """Return the inputs, the facts and the items that a node names.

    The node's own texts decide about inputs, whatever runs it: so a simulated plan compares as the real one does. A
    fact counts where a template of the tool's inputs reads it.

    Args:
        binding: The node with its runner.
        declared: Names of the inputs that the plan declares.
        items: Names of the items that it runs for.
    """
    inputs = (
        {name for reads in _input_reads(binding.node) for name in _names(reads, declared)} if declared else set[str]()
    )
    facts = {name for reads in _fact_reads(binding) for name in _names(reads, FACT_NAMES)}
    named_items = {name for name in items if any(name in names for names in _other_names(binding.node))}
    if not inputs and not facts and not named_items:
        return NOTHING_NAMED
    return NamedValues(tuple(sorted(inputs)), tuple(sorted(facts)), tuple(sorted(named_items)))


def _names(reads: Reads, known: Collection[str]) -> Collection[str]:
    return known if reads.any else [name for name in reads.names if name in known]


def _input_reads(node: WorkflowNode) -> Iterator[Reads]:
    yield from (named.inputs for named in _references_in(node, "inputs"))


def _other_names(node: WorkflowNode) -> Iterator[Collection[str]]:
    yield from (named.names for named in _references_in(node))


def _references_in(node: WorkflowNode, word: str = "") -> Iterator[References]:
    """Yield what the templates of a node name that hold a word."""
    scoring = node.best_of.model_dump() if node.best_of is not None else {}
    for _, text in walk_templates([node.description, node.parameters, node.for_each, node.key, scoring]):
        if word in text:
            try:
                yield references(text)
            except InvalidTemplateError:  # a text with braces: where it is a template, the checks refuse it
                continue


def _fact_reads(binding: NodeBinding) -> Iterator[Reads]:
    for template in binding.templates:
        if "run" in template.text and "run" not in template.own:
            yield references(template.text).run
    for text in (binding.node.for_each, binding.node.key):
        if text is not None and "run" in text:
            yield references(text).run
    if binding.scorer is not None and binding.node.best_of is not None:
        for _, text in walk_templates(binding.node.best_of.model_dump()):
            yield references(text).run
