"""The attempts of an adaptive run as markdown, for a Prefect artifact and for the run's summary."""

from __future__ import annotations

from vibe_prefect.reporting.attempts import RunAttempt
from vibe_prefect.reporting.report import RunReport
from vibe_prefect.reporting.words import SYMBOLS, money, number, ratio
from vibe_prefect.text.escape import markdown


def attempts_page(report: RunReport, level: int = 1) -> str | None:
    """Return the attempts of an adaptive run up to this one; `None` for any other run.

    Args:
        report: Report of the run.
        level: Level of its heading.
    """
    if not report.attempts:
        return None
    head = "| attempt | run | status | quality | executed | reused | failed | tokens | cost | then |"
    rows = [_row(index, attempt) for index, attempt in enumerate(report.attempts, 1)]
    sections = [_changes(index, attempt) for index, attempt in enumerate(report.attempts, 1) if attempt.changes]
    table = "\n".join([head, "| ---: | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |", *rows])
    heading = f"{'#' * level} Attempts of {markdown(report.plan.id, 100)}"
    return "\n\n".join([heading, table, *sections]) + "\n"


def _row(index: int, attempt: RunAttempt) -> str:
    cells = [
        str(index),
        markdown(attempt.run_name, 100),
        f"{SYMBOLS[attempt.status]} {attempt.status.value}",
        ratio(attempt.quality),
        str(attempt.executed),
        str(attempt.reused),
        str(attempt.failed),
        number(attempt.tokens),
        money(attempt.cost_usd),
        markdown(attempt.outcome, 300),
    ]
    return f"| {' | '.join(cells)} |"


def _changes(index: int, attempt: RunAttempt) -> str:
    lines = [f"- {markdown(line, 300)}" for line in attempt.changes]
    fields = [f"  - {markdown(line, 300)}" for line in attempt.differences]
    return "\n".join([f"**Edits before attempt {index}**", "", *lines, *(["- fields:", *fields] if fields else [])])
