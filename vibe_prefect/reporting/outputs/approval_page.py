"""The questions of a run as one page of Markdown, for a Prefect artifact: texts, pictures, files, and how to answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from vibe_prefect.core.approval import Question, ShownItem
from vibe_prefect.core.outputs import OutputFile
from vibe_prefect.reporting.next_steps import approve_command, reject_command
from vibe_prefect.reporting.outputs.rendered import rendered_markdown
from vibe_prefect.reporting.outputs.tables import is_code
from vibe_prefect.reporting.report import RunReport
from vibe_prefect.reporting.words import when
from vibe_prefect.text.escape import fenced, markdown
from vibe_prefect.text.units import size
from vibe_prefect.tools.media.previews import preview


def approval_page(report: RunReport, files: Mapping[str, Path]) -> str | None:
    """Return the questions of a run with what they are about, as Markdown; `None` where it asks nothing.

    Args:
        report: The run.
        files: Local paths of its files, by their paths in the report; see `media.local_files`.
    """
    if not report.questions:
        return None
    sections = [part for question in report.questions for part in _question(question, report.run_name, files)]
    return "\n\n".join(sections) + "\n"


def _question(question: Question, run_name: str, files: Mapping[str, Path]) -> Iterator[str]:
    yield f"# {markdown(question.node_id, 100)}: {markdown(question.text, 2_000)}"
    for id, item in question.open_items.items():
        yield f"## {markdown(id, 100)}"
        yield from _item(item, files)
    if question.until is not None:
        yield f"*Without an answer until {when(question.until)}: {question.on_timeout}.*"
    yield "To answer a suspended run, choose *Resume* in the menu of its page. From a command line:"
    yield fenced(f"{approve_command(run_name, question.node_id)}\n{reject_command(run_name, question.node_id)}", "sh")


def _item(item: ShownItem, files: Mapping[str, Path]) -> Iterator[str]:
    for file in item.files:
        yield _file(file, files)
    if item.text is not None:
        yield fenced(item.text) if is_code(item.text) else rendered_markdown(item.text)


def _file(file: OutputFile, files: Mapping[str, Path]) -> str:
    name = markdown(file.path, 200)
    volume = f", {size(file.bytes)}" if file.bytes is not None else ""
    path = files.get(file.path) if file.mime.startswith("image/") else None
    try:
        source = preview(path) if path is not None else None
    except OSError:
        source = None
    picture = f"![{name}]({source})\n\n" if source is not None else ""
    return f"{picture}{name}, {markdown(file.mime, 60)}{volume}"
