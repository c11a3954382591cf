"""Checks of a node's condition before anything runs: one expression that reads dependencies, inputs and facts only."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from vibe_prefect.errors import Finding, printable, shorten
from vibe_prefect.plan.checks.template_reads import TemplateCheck
from vibe_prefect.templates.names import references
from vibe_prefect.templates.texts import LITERAL_BRACES, InvalidTemplateError, is_template

READABLE = frozenset({"outputs", "inputs", "run"})
"""Names that a condition may use."""

MAX_SHOWN = 200
"""Characters of a condition that reasons show."""

EXPECTED = "expected one expression that yields true or false, as in {{ outputs.check.score < 0.8 }}"


def condition_findings(text: str, check: TemplateCheck) -> Iterator[Finding]:
    """Yield what is wrong with a condition.

    Args:
        text: The condition as written.
        check: Check of the node's templates.
    """
    if not is_template(text):
        hint = f"write {{{{ {text.strip()} }}}}" if text.strip() else "leave 'when' out for a node that always runs"
        yield Finding.advised(f"{EXPECTED}, found {shorten(text)} without braces", hint)
        return
    from vibe_prefect.templates.trees import surplus  # with Jinja: few plans have conditions

    try:
        besides = surplus(text.strip())
        template_names = references(text)
    except InvalidTemplateError as error:
        yield Finding(str(error).removesuffix(LITERAL_BRACES))
        return
    if besides is not None:
        yield Finding(f"{EXPECTED}, found {besides}")
        return
    yield from check.findings(text, raw=True)
    if not template_names.subtracted:
        yield from (_unreadable(name) for name in sorted(template_names.names - READABLE - {*check.items}))


def read_outputs(condition: str, dependencies: Collection[str]) -> Collection[str]:
    """Return the ids of the dependencies whose outputs a condition reads.

    Args:
        condition: The condition; it has been checked.
        dependencies: Ids of the node's dependencies.
    """
    template_names = references(condition)
    return dependencies if template_names.any_output else [id for id in template_names.outputs if id in dependencies]


def shown_condition(condition: str) -> str:
    """Return a condition in one line, cut where it is long."""
    return printable(" ".join(condition.split()), MAX_SHOWN)


def _unreadable(name: str) -> Finding:
    text = f"the condition names {name!r}; it can read outputs of dependencies, inputs and facts of the run"
    return Finding.advised(text, "begin with outputs, inputs or run")
