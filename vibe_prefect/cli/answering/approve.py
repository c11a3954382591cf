"""`vibe-prefect approvals`, `approve` and `reject`: answer what nodes ask."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.text import Text

from vibe_prefect.cli.commands.run import find_server
from vibe_prefect.cli.display.console import err, out
from vibe_prefect.cli.display.lines import counted, one_line
from vibe_prefect.cli.display.prompt import question_lines
from vibe_prefect.cli.exits import ExitCode
from vibe_prefect.cli.process.environment import ask
from vibe_prefect.errors import UsageError
from vibe_prefect.operations import AnsweredNode, WaitingNode
from vibe_prefect.reporting.next_steps import approve_command, reject_command


def approvals(*, as_json: bool) -> int:
    """List what waits for an answer, with the commands that answer."""
    server = find_server(err(), quiet=False)
    from vibe_prefect.operations import approvals as waiting_nodes

    waiting = ask(server, waiting_nodes())
    if as_json:
        from vibe_prefect.cli.display.answer_documents import ApprovalsDocument, OpenQuestion
        from vibe_prefect.cli.display.documents import print_document

        print_document(ApprovalsDocument(approvals=[OpenQuestion.of(node) for node in waiting]))
    else:
        _print_waiting(waiting)
    return ExitCode.COMPLETED


def _print_waiting(waiting: Sequence[WaitingNode]) -> None:
    screen = out()
    for node in waiting:
        question = node.question
        screen.say(Text.assemble((one_line(node.run_name), "bold"), f"  asked at {question.asked_at}"))
        for id in question.open_items:
            for line in question_lines(question, id):
                screen.say(line)
        screen.say(f"  {one_line(approve_command(node.run_name, question.node_id))}")
        screen.say(f"  {one_line(reject_command(node.run_name, question.node_id))}")
    screen.say(f"{counted(len(waiting), 'question')} waiting for an answer" if waiting else "nothing waits", "dim")


def approve(  # noqa: PLR0913 - a command's options
    run: str,
    node: str,
    *,
    item: str | None,
    comment: str,
    text: str | None,
    file: Path | None,
    by: str | None,
    as_json: bool,
) -> int:
    """Approve what a node asks about."""
    if text is not None and file is not None:
        raise UsageError("--text and --file both give the edited text; leave one of them out")
    edited = text if file is None else read_edit(file)
    server = find_server(err(), quiet=False)
    from vibe_prefect.operations import approve as approve_node

    return _print(ask(server, approve_node(run, node, item=item, comment=comment, text=edited, by=by)), as_json=as_json)


def reject(  # noqa: PLR0913 - a command's options
    run: str, node: str, because: str, *, item: str | None, by: str | None, as_json: bool
) -> int:
    """Reject what a node asks about."""
    server = find_server(err(), quiet=False)
    from vibe_prefect.operations import reject as reject_node

    return _print(ask(server, reject_node(run, node, because, item=item, by=by)), as_json=as_json)


def read_edit(file: Path) -> str:
    """Return the text of a file that takes the place of an output.

    Raises:
        UsageError: It cannot be read, or is not text.
    """
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--file {str(file)!r} cannot be read: {error}") from None


def _print(answered: AnsweredNode, *, as_json: bool) -> int:
    if as_json:
        from vibe_prefect.cli.display.answer_documents import AnswerDocument
        from vibe_prefect.cli.display.documents import print_document

        print_document(AnswerDocument.of(answered))
        return ExitCode.COMPLETED
    screen = out()
    question = answered.question
    for id, answer in answered.answers.items():
        screen.say(Text.assemble((one_line(id), "bold"), f" of {one_line(answered.run_name)}: {one_line(answer.line)}"))
    if question.open_items:
        screen.say(f"still open: {one_line(', '.join(question.open_items))}")
    elif answered.goes_on:
        screen.say("the run goes on")
    else:
        screen.say("to run what depends on it:", "dim")
        screen.say(f"  {one_line(answered.resume_command)}")
    return ExitCode.COMPLETED
