"""`vibe-prefect diff`: comparison of two plans, each a file or that of a run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import asdict

from rich.text import Text

from vibe_prefect.cli.commands.run import find_server
from vibe_prefect.cli.display.console import Screen, err, out
from vibe_prefect.cli.display.documents import print_document
from vibe_prefect.cli.display.lines import columns, counted, one_line
from vibe_prefect.cli.display.plan_documents import ChangedField, DiffDocument, MovedNode, PlanSide
from vibe_prefect.cli.exits import ExitCode
from vibe_prefect.cli.process.environment import ask
from vibe_prefect.cli.reading.inputs import InputArguments
from vibe_prefect.cli.reading.toolbox import command_registry
from vibe_prefect.operations import PlanComparison, names_file
from vibe_prefect.plan.comparison import FieldChange, PlanDiff
from vibe_prefect.plan.compiler import CompiledPlan

TOP = "the top"
MAX_FIELDS = 12
"""Number of fields that are shown of a node."""


def diff(a: str, b: str, inputs: InputArguments, *, as_json: bool) -> int:
    """Print the differences of two plans; returns the exit code."""
    from vibe_prefect.operations import diff as compare

    question = compare(a, b, tools=command_registry(), inputs=inputs.of)
    is_local = names_file(a) and names_file(b)
    compared = asyncio.run(question) if is_local else ask(find_server(err(), quiet=False), question)
    if as_json:
        print_document(diff_document(compared))
    else:
        print_comparison(out(), compared)
    return ExitCode.COMPLETED


def print_comparison(screen: Screen, compared: PlanComparison) -> None:
    """Print the differences of two plans, and what a resume would execute."""
    old, new, difference = compared.a, compared.b, compared.difference
    screen.say(Text.assemble("from ", (one_line(old.label), "bold"), " to ", (one_line(new.label), "bold")))
    if difference.is_empty:
        screen.say("no differences")
        return
    for line in difference_lines(difference, old.compiled, new.compiled):
        screen.say(line)
    for line in _executions(difference, screen.limit):
        screen.say(line)


def difference_lines(difference: PlanDiff, old: CompiledPlan, new: CompiledPlan) -> Iterator[Text]:
    """Yield a line for each difference: `!` gate, `~` changed, `+` added, `-` removed, `>` moved."""
    yield from (_head("!", f"gate {id}", "red", one_line(change)) for id, change in difference.gates.items())
    if difference.plan:
        yield _head("~", "the plan itself", "yellow")
        yield from _fields(difference.plan)
    yield from (_head("-", id, "red", _named_work(old, id)) for id in difference.removed)
    for id in new.nodes:
        if id in difference.added:
            yield _head("+", id, "green", _named_work(new, id))
        if id in difference.moved:
            move = difference.moved[id]
            yield _head(">", id, "cyan", f"moved from {move.old or TOP} to {move.new or TOP}")
        if id in difference.changed:
            fields = difference.changed[id]
            yield _head("~", id, "yellow", "" if any(field.in_key for field in fields) else "its result is kept")
            yield from _fields(fields)


def _head(sign: str, id: str, style: str, about: str = "") -> Text:
    return Text.assemble((f"{sign} ", style), (id, f"bold {style}"), (f"  {about}" if about else "", "dim"))


def _named_work(compiled: CompiledPlan, id: str) -> str:
    node = compiled.graph.nodes[id].node
    tool = node.parameters.get("tool")
    return f"{node.type}, {one_line(tool)}" if isinstance(tool, str) else node.type.value


def _fields(fields: tuple[FieldChange, ...]) -> Iterator[Text]:
    for change in fields[:MAX_FIELDS]:
        yield Text(f"    {one_line(change.path)}")
        if change.old is not None:
            yield Text.assemble(("      - ", "red"), one_line(change.old))
        if change.new is not None:
            yield Text.assemble(("      + ", "green"), one_line(change.new))
    if len(fields) > MAX_FIELDS:
        yield Text(f"    and {counted(len(fields) - MAX_FIELDS, 'more field', 'more fields')}", "dim")


def _executions(difference: PlanDiff, width: int | None) -> Iterator[Text]:
    total = counted(difference.total, "node")
    if not difference.executes:
        yield Text(f"a resume would execute none of {total}, if the earlier run has finished")
        return
    yield Text(f"a resume would execute {len(difference.executes):,} of {total}, if the earlier run has finished:")
    rows = [[Text(f"  {id}", "bold"), Text(one_line(reason))] for id, reason in difference.executes.items()]
    yield from columns(rows, width)


def diff_document(compared: PlanComparison) -> DiffDocument:
    """Return the comparison of two plans as a JSON document."""
    old, new, difference = compared.a, compared.b, compared.difference
    return DiffDocument(
        a=PlanSide(name=old.label, plan_id=old.compiled.plan.id),
        b=PlanSide(name=new.label, plan_id=new.compiled.plan.id),
        plan=_changed(difference.plan),
        added=list(difference.added),
        removed=list(difference.removed),
        changed={id: _changed(fields) for id, fields in difference.changed.items()},
        moved={id: MovedNode(**asdict(move)) for id, move in difference.moved.items()},
        through_dependencies=list(difference.through),
        executes=dict(difference.executes),
        total_nodes=difference.total,
        gates=dict(difference.gates),
    )


def _changed(fields: tuple[FieldChange, ...]) -> list[ChangedField]:
    return [ChangedField(**asdict(field)) for field in fields]
