"""The outputs of a run as the cards of its page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from vibe_prefect.core.outputs import OutputFile
from vibe_prefect.reporting.media import Embedder, Medium
from vibe_prefect.reporting.outputs.cards import OutputCard, output_cards
from vibe_prefect.reporting.outputs.rendered import rendered_html
from vibe_prefect.reporting.outputs.tables import OutputTable, is_code, table_in
from vibe_prefect.reporting.report import RunReport

MAX_TEXTS = 600_000
"""Characters of all texts of outputs on a page."""


@dataclass(frozen=True, slots=True)
class HtmlCard:
    """A card of the page. Its text is one of prose, table and code, or there is none."""

    card: OutputCard
    """The output."""

    files: tuple[tuple[OutputFile, Medium], ...]
    """Its files, and the form in which the page shows each."""

    prose: Markup | None = None
    """Its text with Markdown rendered."""

    table: OutputTable | None = None
    """The beginning of the table that its text is."""

    code: str | None = None
    """Its text as it stands."""


def html_cards(report: RunReport, files: Mapping[str, Path], embedder: Embedder) -> tuple[list[HtmlCard], int]:
    """Return the cards of a run's page, and the number of texts that found no room.

    Args:
        report: The run.
        files: Local paths of its files, by their paths in the report.
        embedder: Puts files into the page.
    """
    cards: list[HtmlCard] = []
    room, left_out = MAX_TEXTS, 0
    for card in output_cards(report, files):
        media = tuple((file, embedder.medium(file)) for file in card.files)
        length = len(card.text or "")
        if length > room:
            left_out += 1
            cards.append(HtmlCard(card, media))
            continue
        room -= length
        cards.append(_with_text(card, media))
    return cards, left_out


def _with_text(card: OutputCard, media: tuple[tuple[OutputFile, Medium], ...]) -> HtmlCard:
    text = card.text
    if text is None:
        return HtmlCard(card, media)
    table = table_in(text, card.text_file)
    if table is not None:
        return HtmlCard(card, media, table=table)
    return HtmlCard(card, media, code=text) if is_code(text) else HtmlCard(card, media, prose=rendered_html(text))
