"""The outputs of a run as one page of Markdown, for a Prefect artifact: texts, tables and small pictures.

It is the first artifact that people see, so it also answers how the run ended, what it cost, who made each output, why
that was accepted or refused, and what helps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from vibe_prefect.core.outputs import OutputFile
from vibe_prefect.reporting.explanations.explain import Explainer
from vibe_prefect.reporting.markdown import failure_section, next_section
from vibe_prefect.reporting.outputs.cards import OutputCard, is_played, output_cards
from vibe_prefect.reporting.outputs.rendered import rendered_markdown, table_row, table_rule
from vibe_prefect.reporting.outputs.tables import MAX_CELL, OutputTable, is_code, table_in
from vibe_prefect.reporting.report import NodeReport, RunReport
from vibe_prefect.reporting.words import headline, spending
from vibe_prefect.results import output_command
from vibe_prefect.text.escape import fenced, line, markdown
from vibe_prefect.text.units import counted, listed, size
from vibe_prefect.tools.media.previews import preview

MAX_CHARACTERS = 200_000
"""Characters of all texts of the page together; those of its pictures are counted apart."""

MAX_CARDS = 200
"""Outputs on the page: Prefect's UI draws more of them for seconds, and nobody reads so far."""

MAX_RESULT = 20_000
"""Characters of one result."""

MAX_STEP = 2_000
"""Characters of one output on the way to the results, and of one that is code."""

MAX_PROMPT = 300
"""Characters of a prompt on the page."""

MAX_WHY = 600
"""Characters of the reason of a decision on the page."""

MAX_IMAGES = 24
"""Pictures on the page."""

MAX_IMAGE_CHARACTERS = 1_000_000
"""Characters of all its pictures together, in base64."""


def output_page(report: RunReport, files: Mapping[str, Path]) -> str | None:
    """Return what a run made, as Markdown: its results first, then what led to them.

    What finds no room is named, with the command that prints it. There is no page where nothing was made and nothing
    failed.

    Args:
        report: The run.
        files: Local paths of its files, by their paths in the report; see `media.local_files`.
    """
    cards = output_cards(report, files)
    failures = failure_section(report)
    if not cards and not failures:
        return None
    page = _Page(report, files)
    shown = cards[:MAX_CARDS]
    results = [card for card in shown if card.is_result]
    steps = shown[len(results) :]
    head = "; ".join(filter(None, [headline(report), spending(report.totals)]))
    parts = [markdown(head, 300), *filter(None, [failures, next_section(report)]), *page.cards(results, MAX_RESULT)]
    if steps:
        count = sum(not card.is_result for card in cards)
        parts += [f"# On the way: {counted(count, 'output')}", *page.cards(steps, MAX_STEP)]
    if len(cards) > len(shown):
        parts.append(
            _missing(f"{counted(len(cards) - len(shown), 'more output')} left out; to list the results", report)
        )
    return "\n\n".join(parts) + "\n"


def _missing(reason: str, report: RunReport, node_id: str | None = None) -> str:
    return f"*{reason}:*\n\n{fenced(output_command(report.run_name, node_id), 'sh')}"


class _Page:
    """Puts cards onto one page, until it is full."""

    def __init__(self, report: RunReport, files: Mapping[str, Path]) -> None:
        self._report = report
        self._files = files
        self._explainer = Explainer(report)
        self._room = MAX_CHARACTERS
        self._images = MAX_IMAGES
        self._image_room = MAX_IMAGE_CHARACTERS

    def cards(self, cards: Iterable[OutputCard], most: int) -> list[str]:
        """Return a section for each card.

        Args:
            cards: The cards.
            most: Characters of the text of each.
        """
        return ["\n\n".join(filter(None, self._card(card, most))) for card in cards]

    def _card(self, card: OutputCard, most: int) -> list[str]:
        return [_title(card), _origin(card), self._who_and_why(card.node), *self._content(card, most)]

    def _who_and_why(self, node: NodeReport) -> str:
        """Return which model made an output of which prompt, and why it was accepted or refused."""
        calls = node.provenance.model_calls if node.provenance else ()
        asked = ""
        if calls:
            prompt = markdown(line(calls[-1].prompt or "", MAX_PROMPT), MAX_PROMPT)
            asked = f"by **{markdown(calls[-1].model, 100)}**{f', asked: {prompt}' if prompt else ''}"
        decision, why = self._explainer.decide(node)
        return "\n\n".join(filter(None, [asked, f"**{decision}**: {markdown(why, MAX_WHY)}"]))

    def _content(self, card: OutputCard, most: int) -> list[str]:
        pictures = [self._picture(card, file) for file in card.files if is_played(file)]
        return [*pictures, "" if card.text is None else self._text(card, card.text, most)]

    def _text(self, card: OutputCard, text: str, most: int) -> str:
        table, code = table_in(text, card.text_file), is_code(text)
        most = min(most, MAX_STEP) if code else most
        if table is not None:
            shown, left_out = _table(table), table.note
        else:
            shown = fenced(text[:most]) if code else rendered_markdown(text[:most])
            missing = len(text) - most
            left_out = f"{counted(missing, 'more character')} left out" if missing > 0 else ""
        if len(shown) > self._room:
            return self._missing(card, "left out, since this page holds as much text as it may")
        self._room -= len(shown)
        note = self._missing(card, left_out) if left_out else ""
        return "\n\n".join(filter(None, [shown, note]))

    def _picture(self, card: OutputCard, file: OutputFile) -> str:
        name = markdown(file.path, 200)
        source = self._source(file)
        volume = f", {size(file.bytes)}" if file.bytes is not None else ""
        if source is None:
            return self._missing(card, f"{name} ({markdown(file.mime, 60)}{volume}) is not shown here")
        return f"![{name}]({source})\n\n{name}, {markdown(file.mime, 60)}{volume}"

    def _source(self, file: OutputFile) -> str | None:
        """Return a picture as a `data:` address; `None` where it is none, or finds no room."""
        path = self._files.get(file.path) if file.mime.startswith("image/") else None
        if path is None or not self._images:
            return None
        try:
            source = preview(path)
        except OSError:
            return None
        if source is None or len(source) > self._image_room:
            return None
        self._images -= 1
        self._image_room -= len(source)
        return source

    def _missing(self, card: OutputCard, reason: str) -> str:
        return _missing(f"{reason}; to have all of it", self._report, card.node.id)


def _title(card: OutputCard) -> str:
    path = " › ".join(markdown(id, 100) for id in (*card.groups, card.node.id))  # noqa: RUF001 - leads down, as in menus
    return f"## {path}"


def _origin(card: OutputCard) -> str:
    """Return a line about the card's node: its task, its remark, the nodes that passed it on, its files."""
    node = card.node
    facts = [f"*{markdown(node.description, 200)}*"] if node.description.strip() else []
    facts += [f"**{remark}**" for remark in card.remarks]
    facts += [f"passed on by {_listed(card.passed_on)}"] if card.passed_on else []
    written = [file.path for file in card.files if not is_played(file)]
    facts += [f"file {_listed(written)}"] if written else []
    return " · ".join(facts)


def _listed(names: Iterable[str], most: int = 8) -> str:
    return listed([markdown(name, 100) for name in names], most)


def _table(table: OutputTable) -> str:
    rows = [table_row([markdown(cell, MAX_CELL) for cell in row]) for row in (table.columns, *table.rows)]
    return "\n".join([rows[0], table_rule([""] * len(table.columns)), *rows[1:]])
