"""`vibe-prefect output --explain`: say who made a node's result, and why it was accepted or refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vibe_prefect.cli.commands.run import find_server
from vibe_prefect.cli.display.console import err, out
from vibe_prefect.cli.display.documents import ExplanationDocument, print_document
from vibe_prefect.cli.display.lines import one_line
from vibe_prefect.cli.exits import ExitCode
from vibe_prefect.cli.process.environment import ask

if TYPE_CHECKING:
    from vibe_prefect.reporting.explanations.explain import NodeExplanation
    from vibe_prefect.reporting.report import RunReport


def explain_run(run: str | None, node: str | None, *, as_json: bool) -> int:
    """Explain a node of a run, or all of them.

    Args:
        run: The run's name or id; `None` for the newest run.
        node: The node's id; `None` for every node.
        as_json: Whether one JSON document is printed.

    Raises:
        UnknownRunError: There is no such run.
        UsageError: The run has no such node.
    """
    server = find_server(err(), quiet=as_json)
    from vibe_prefect.operations import report as report_of
    from vibe_prefect.reporting.explanations.explain import explain, explain_all

    report = ask(server, report_of(run))
    explanations = list(explain_all(report)) if node is None else [explain(report, node)]
    if as_json:
        print_document(_document(report, explanations))
    else:
        _print(report, explanations)
    return ExitCode.COMPLETED


def _document(report: RunReport, explanations: Sequence[NodeExplanation]) -> ExplanationDocument:
    nodes = {explanation.node_id: explanation for explanation in explanations}
    return ExplanationDocument(run_name=report.run_name, run_id=report.run_id, state=report.state, nodes=nodes)


def _print(report: RunReport, explanations: Sequence[NodeExplanation]) -> None:
    from vibe_prefect.reporting.explanations.explain_text import LABEL, explanation_lines

    screen = out()
    state = f"{one_line(report.run_name)} ({report.run_id}), {one_line(report.state)}"
    screen.say(f"{'run':<{LABEL}} {state}")
    for explanation in explanations:
        screen.say()
        for line in explanation_lines(explanation):
            screen.say(line)
