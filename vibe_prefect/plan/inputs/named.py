"""Inputs and facts of a run that a node names: they enter its key, and are all of them that it is given."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from vibe_prefect.core.models import WorkflowNode
from vibe_prefect.core.run_values import FACT_NAMES, NOTHING_NAMED, NamedValues
from vibe_prefect.plan.backing import NodeBinding
from vibe_prefect.templates.language import InvalidTemplateError, walk_templates
from vibe_prefect.templates.names import Reads, references


def named_values(binding: NodeBinding, declared: Collection[str]) -> NamedValues:
    """Return the inputs and the facts that a node names.

    The node's own texts decide about inputs, whatever runs it: so a simulated plan compares as the real one does. A
    fact counts where a template of the tool's inputs reads it.

    Args:
        binding: The node with its runner.
        declared: Names of the inputs that the plan declares.
    """
    inputs = (
        {name for reads in _input_reads(binding.node) for name in _names(reads, declared)} if declared else set[str]()
    )
    facts = {name for reads in _fact_reads(binding) for name in _names(reads, FACT_NAMES)}
    return NamedValues(tuple(sorted(inputs)), tuple(sorted(facts))) if inputs or facts else NOTHING_NAMED


def _names(reads: Reads, known: Collection[str]) -> Collection[str]:
    return known if reads.any else [name for name in reads.names if name in known]


def _input_reads(node: WorkflowNode) -> Iterator[Reads]:
    scoring = node.best_of.model_dump() if node.best_of is not None else {}
    for _, text in walk_templates([node.description, node.parameters, scoring]):
        if "inputs" in text:
            try:
                yield references(text).inputs
            except InvalidTemplateError:  # a text with braces: where it is a template, the checks refuse it
                continue


def _fact_reads(binding: NodeBinding) -> Iterator[Reads]:
    for template in binding.templates:
        if "run" in template.text and "run" not in template.own:
            yield references(template.text).run
    if binding.scorer is not None and binding.node.best_of is not None:
        for _, text in walk_templates(binding.node.best_of.model_dump()):
            yield references(text).run
