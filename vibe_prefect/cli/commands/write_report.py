"""`vibe-prefect report`: a page about a run that a Prefect server knows, or its report as JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from vibe_prefect.cli.commands.page import check_page, say_page, write_page
from vibe_prefect.cli.commands.run import find_server
from vibe_prefect.cli.display.console import err, out, write
from vibe_prefect.cli.exits import ExitCode
from vibe_prefect.cli.process.environment import ask


def report(run: str | None, output: Path | None, *, as_json: bool) -> int:
    """Write a page about a run that a Prefect server knows, or print its report as JSON."""
    check_page(output)
    server = find_server(err(), quiet=as_json)
    from vibe_prefect.operations import report as report_of

    run_report = ask(server, report_of(run))
    run_report = replace(run_report, run_url=server.flow_run_url(run_report.run_id))
    if as_json:
        write(f"{json.dumps(run_report.to_dict(), indent=2, ensure_ascii=False)}\n")
        return ExitCode.COMPLETED
    say_page(out(), write_page(run_report, output))
    return ExitCode.COMPLETED
