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

MAX_CARDS = 500
"""Outputs on a page: nobody reads more of them, and a browser takes seconds to open it."""


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


@dataclass(frozen=True, slots=True)
class HtmlCards:
    """The cards of a page, and the number of those that it leaves out."""

    results: tuple[HtmlCard, ...]
    """Cards of the results of the run."""

    further: tuple[HtmlCard, ...]
    """Cards of what led to them."""

    further_in_all: int
    """Number of outputs that led to the results, those that are left out among them."""

    texts_left_out: int
    """Number of cards without their text, for which there is no room."""

    left_out: int
    """Number of outputs without a card."""


def html_cards(report: RunReport, files: Mapping[str, Path], embedder: Embedder) -> HtmlCards:
    """Return the cards of a run's page.

    Args:
        report: The run.
        files: Local paths of its files, by their paths in the report.
        embedder: Puts files into the page.
    """
    cards: list[HtmlCard] = []
    room, left_out = MAX_TEXTS, 0
    known = output_cards(report, files)
    for card in known[:MAX_CARDS]:
        media = tuple((file, embedder.medium(file)) for file in card.files)
        length = len(card.text or "")
        if length > room:
            left_out += 1
            cards.append(HtmlCard(card, media))
            continue
        room -= length
        cards.append(_with_text(card, media))
    return HtmlCards(
        tuple(shown for shown in cards if shown.card.is_result),
        tuple(shown for shown in cards if not shown.card.is_result),
        sum(not card.is_result for card in known),
        texts_left_out=left_out,
        left_out=len(known) - len(cards),
    )


def _with_text(card: OutputCard, media: tuple[tuple[OutputFile, Medium], ...]) -> HtmlCard:
    text = card.text
    if text is None:
        return HtmlCard(card, media)
    table = table_in(text, card.text_file)
    if table is not None:
        return HtmlCard(card, media, table=table)
    return HtmlCard(card, media, code=text) if is_code(text) else HtmlCard(card, media, prose=rendered_html(text))
