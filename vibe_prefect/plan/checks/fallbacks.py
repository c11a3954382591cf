"""Checks of a node's fallback before anything runs."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from vibe_prefect.core.models import OnError
from vibe_prefect.core.plan_tree import DataPath
from vibe_prefect.errors import Finding, did_you_mean
from vibe_prefect.plan.keys import canonical_json
from vibe_prefect.templates.texts import walk_templates

EXPECTED = "expected 'use', the id of a dependency whose output stands in, or 'value'"


def fallback_findings(
    id: str, fallback: OnError, dependencies: Collection[str] | None
) -> Iterator[tuple[DataPath, Finding]]:
    """Yield what is wrong with a fallback, each with its path within the field.

    Args:
        id: Id of the node that has it.
        fallback: The fallback.
        dependencies: Ids of the node's dependencies; `None` where they could not be read.
    """
    if fallback.use is not None and fallback.value is not None:
        yield (), Finding.advised(f"{EXPECTED}, found both", "leave one of them out")
    elif fallback.use == id:
        yield (
            ("use",),
            Finding.advised("a node cannot stand in for itself", "name a dependency, or a 'value'"),
        )
    elif fallback.use is not None:
        if dependencies is not None and fallback.use not in dependencies:
            yield ("use",), _unknown(fallback.use, dependencies)
    elif "value" not in fallback.model_fields_set:
        yield (), Finding(f"{EXPECTED}, found neither")
    else:
        yield from ((("value", *path), finding) for path, finding in _value_findings(fallback.value))


def _unknown(use: str, dependencies: Collection[str]) -> Finding:
    listed = f"its dependencies are {', '.join(dependencies)}" if dependencies else "it has no dependencies"
    hint = did_you_mean(use, dependencies) or f"add {use!r} to 'dependencies', or to 'optional_dependencies'"
    return Finding.advised(f"{use!r} is not a dependency of this node: {listed}", hint)


def _value_findings(value: object) -> Iterator[tuple[DataPath, Finding]]:
    try:
        canonical_json(value)
    except TypeError as error:
        yield (), Finding(f"JSON cannot hold this: {error}")
        return
    for path, _ in walk_templates(value):
        hint = "name a dependency in 'use', or write the value out"
        yield path, Finding.advised("found a template; the value of a fallback is taken as it is written", hint)
