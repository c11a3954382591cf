"""`vibe-prefect accept`: override a gate that refused, with a name and a reason."""

from __future__ import annotations

from rich.text import Text

from vibe_prefect.cli.commands.run import find_server
from vibe_prefect.cli.display.console import err, out
from vibe_prefect.cli.display.lines import error_lines, one_line
from vibe_prefect.cli.exits import ExitCode
from vibe_prefect.cli.process.environment import ask


def accept(run: str, node: str, because: str, by: str | None, *, as_json: bool) -> int:
    """Accept what a gate refused, and print the command that runs what depends on it."""
    server = find_server(err(), quiet=False)
    from vibe_prefect.operations import accept as accept_node

    accepted = ask(server, accept_node(run, node, because, by=by))
    if as_json:
        from vibe_prefect.cli.display.answer_documents import AcceptanceDocument
        from vibe_prefect.cli.display.documents import print_document

        print_document(AcceptanceDocument.of(accepted))
        return ExitCode.COMPLETED
    screen = out()
    screen.say(Text.assemble("accepted ", (one_line(accepted.node_id), "bold"), f" of {one_line(accepted.run_name)}"))
    screen.say(f"  verdict  {error_lines(accepted.verdict)[0]}")
    screen.say(f"  by       {one_line(accepted.acceptance.by)}")
    screen.say(f"  because  {one_line(accepted.acceptance.because)}")
    screen.say("to run what depends on it:", "dim")
    screen.say(f"  {one_line(accepted.resume_command)}")
    return ExitCode.COMPLETED
