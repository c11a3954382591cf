"""Checks of the templates in a node's inputs, as far as they are possible before the run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from vibe_prefect.core.run_values import FACT_NAMES
from vibe_prefect.errors import Finding, did_you_mean
from vibe_prefect.schemas.output_fields import missing_part
from vibe_prefect.templates.names import place_of, references
from vibe_prefect.templates.reads import Reads, References, Step
from vibe_prefect.templates.texts import LITERAL_BRACES, TEMPLATE_NAMES, InvalidTemplateError

_DECLARE = "declare them beside 'root_nodes', as in inputs: {{{}: {{type: string}}}}"


@dataclass(frozen=True, slots=True)
class StatedOutput:
    """Facts that are known of a node's output before it has run."""

    schema: Any
    """Its JSON Schema."""

    maker: str
    """Maker of the output, for messages."""


class TemplateCheck(NamedTuple):
    """Check of one node's templates: they read outputs of its dependencies, declared inputs and known facts only."""

    dependencies: Collection[str] | None
    """Ids of its dependencies; `None` where they could not be read."""

    stated: Callable[[str], StatedOutput | None]
    """Looks up what is known of the output of a node, by its id."""

    inputs: Mapping[str, Any] | None = None
    """The inputs that the plan declares; `None` where they could not be read."""

    items: Collection[str] = ()
    """Names of the items that the node runs for."""

    def findings(self, text: str, *, raw: bool, own: Collection[str] = ()) -> Iterator[Finding]:
        """Yield what is wrong with a template.

        Args:
            text: The template.
            raw: Whether the tool itself fills it in, so that it may have more names.
            own: Names that the node gives the tool values for.
        """
        try:
            template_names = references(text)
        except InvalidTemplateError as error:
            yield Finding(str(error), at=(error.line - 1, 0) if error.line else None)
            return
        for name in template_names.outputs:
            if template_names.fields or self.dependencies is None or name not in self.dependencies:
                yield from _placed(self._output(name, template_names), text, "outputs", name)
        if not template_names.names:
            return
        if "inputs" not in own:
            yield from self._inputs(template_names.inputs, text)
        if "run" not in own:
            for name in template_names.run.names:
                yield from _placed([_unknown_fact(name)] if name not in FACT_NAMES else [], text, "run", name)
        if not raw and not template_names.subtracted:
            for name in sorted(template_names.names - TEMPLATE_NAMES - {*self.items}):
                yield from _placed([_unknown_name(name, self.items)], text, name)

    def _output(self, name: str, template_names: References) -> Iterator[Finding]:
        if self.dependencies is None or name in self.dependencies:
            parts = dict.fromkeys(field.steps for field in template_names.fields if field.output == name)
            messages = dict.fromkeys(message for steps in parts if (message := self._missing(name, steps)))
            yield from map(Finding, messages)
            return
        intended = template_names.subtracted.get(name)
        if intended in self.dependencies:
            text = f"the template reads outputs.{intended} as a subtraction"
            yield Finding.advised(text, f"write outputs[{intended!r}]")
            return
        dependency_list = (
            f"its dependencies are {', '.join(self.dependencies)}" if self.dependencies else "it has no dependencies"
        )
        hint = did_you_mean(name, self.dependencies)
        text = f"the template names outputs.{name}, but {name!r} is not a dependency of this node: {dependency_list}"
        yield Finding.advised(text, hint)

    def _inputs(self, reads: Reads, text: str) -> Iterator[Finding]:
        if self.inputs is None:
            return
        if reads.any and not self.inputs:
            yield Finding.advised("the template names inputs, but the plan declares none", _DECLARE.format("NAME"))
        for name in reads.names:
            if name not in self.inputs:
                yield from _placed([_unknown_input(name, self.inputs)], text, "inputs", name)
        for field in reads.fields:
            if field.output in self.inputs:
                schema = self.inputs[field.output]
                if message := missing_part(schema, f"inputs.{field.output}", field.steps):
                    fault, _, hint = message.partition("; ")
                    yield from _placed([Finding.advised(fault, hint)], text, "inputs", field.output)

    def _missing(self, name: str, steps: tuple[Step, ...]) -> str | None:
        stated = self.stated(name)
        if stated is None:
            return None
        expression = f"outputs.{name}" if name.isidentifier() else f"outputs[{name!r}]"
        missing = missing_part(stated.schema, expression, steps)
        return f"{missing} (the output of {stated.maker})" if missing else None


def names_only_outputs(text: str, ids: Collection[str]) -> bool:
    """Tell whether a template names whole outputs of given nodes alone: then `TemplateCheck` finds nothing.

    Args:
        text: The template.
        ids: Ids of the nodes.
    """
    try:
        template_names = references(text)
    except InvalidTemplateError:
        return False
    only_outputs = not (template_names.names or template_names.fields)
    return only_outputs and set(template_names.outputs).issubset(ids)


def _placed(findings: Iterable[Finding], text: str, *names: str) -> Iterator[Finding]:
    """Yield findings with the place of names within a template."""
    return (replace(finding, at=place_of(text, *names)) for finding in findings)


def _unknown_input(name: str, inputs: Collection[str]) -> Finding:
    if not inputs:
        text = f"the template names inputs.{name}, but the plan declares no inputs"
        return Finding.advised(text, _DECLARE.format(name))
    hint = did_you_mean(name, inputs) or f"they are {', '.join(inputs)}"
    return Finding.advised(f"the template names inputs.{name}, which is not among the plan's inputs", hint)


def _unknown_fact(name: str) -> Finding:
    hint = did_you_mean(name, FACT_NAMES) or f"a run has {', '.join(FACT_NAMES)}"
    return Finding.advised(f"the template names run.{name}, which is no fact of a run", hint)


def _unknown_name(name: str, items: Collection[str]) -> Finding:
    known = sorted(TEMPLATE_NAMES.union(items))
    hint = did_you_mean(name, known) or f"a template can name {', '.join(known)}"
    return Finding.advised(f"the template names {name!r}, which is not defined", f"{hint}{LITERAL_BRACES}")
