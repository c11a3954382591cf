"""Inputs, facts and items that a node names: they enter its key, and are all of them that it is given."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from vibe_prefect.core.models import WorkflowNode
from vibe_prefect.core.run_values import FACT_NAMES, NOTHING_NAMED, NamedValues
from vibe_prefect.plan.backing import NodeBinding
from vibe_prefect.templates.names import references
from vibe_prefect.templates.reads import Reads, References
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
    node = binding.node
    input_reads = [named.inputs for named in _references_in(node, "inputs")] if declared else []
    fact_reads = _fact_reads(binding)
    named_items = {name for named in _references_in(node) for name in items if name in named.names} if items else ()
    if not (input_reads or fact_reads or named_items):
        return NOTHING_NAMED
    inputs = {name for reads in input_reads for name in _names(reads, declared)}
    facts = {name for reads in fact_reads for name in _names(reads, FACT_NAMES)}
    if not (inputs or facts or named_items):
        return NOTHING_NAMED
    return NamedValues(tuple(sorted(inputs)), tuple(sorted(facts)), tuple(sorted(named_items)))


def _names(reads: Reads, known: Collection[str]) -> Collection[str]:
    return known if reads.any else [name for name in reads.names if name in known]


def _references_in(node: WorkflowNode, word: str = "") -> Iterator[References]:
    """Yield what the templates of a node name that hold a word."""
    scoring = node.best_of.model_dump() if node.best_of is not None else {}
    for _, text in walk_templates([node.description, node.parameters, node.for_each, node.key, scoring]):
        if word in text:
            try:
                yield references(text)
            except InvalidTemplateError:  # a text with braces: where it is a template, the checks refuse it
                continue


def _fact_reads(binding: NodeBinding) -> list[Reads]:
    node = binding.node
    raw = binding.bound.input_names.raw if binding.naming and "run" in binding.own_names else ()
    reads = [named.run for path, named in binding.naming if "run" in named.names and path[0] not in raw]
    texts: list[str] = []
    if node.for_each is not None:
        texts += [text for text in (node.for_each, node.key) if text is not None and "run" in text]
    if binding.scorer is not None and node.best_of is not None:
        texts += [text for _, text in walk_templates(node.best_of.model_dump())]
    return reads + [references(text).run for text in texts]
