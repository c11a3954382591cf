"""One table of unseen characters, for terminals, pages, errors and what is sent."""

from __future__ import annotations

import pytest

from vibe_prefect.characters import UNSEEN, UNSENDABLE, visible
from vibe_prefect.cli.display.lines import one_line
from vibe_prefect.errors import printable
from vibe_prefect.text.escape import line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain words", "plain words"),
        ("a\u202eb", "a\\u202eb"),
        ("a\x00b\x1b[31m", "a\\x00b\\x1b[31m"),
        ("zero\u200bwidth\u2060", "zero\\u200bwidth\\u2060"),
        ("\ud800", "\\ud800"),
        ("👩\u200d🚀 مرحبا 日本\xa0", "👩\u200d🚀 مرحبا 日本\xa0"),
    ],
)
def test_what_acts_unseen_is_seen_wherever_people_read(text: str, shown: str) -> None:
    assert visible(text) == printable(text, 100) == shown
    joined = " ".join(shown.split())
    assert one_line(text) == line(text, 100) == joined


def test_what_cannot_be_sent_is_not_shown_either() -> None:
    characters = [chr(code) for code in range(0x110000)]
    unsendable, unseen = ({one for one in characters if table.search(one)} for table in (UNSENDABLE, UNSEEN))
    assert unsendable < unseen
    assert not unseen & set(map(chr, range(0x20, 0x7F)))
    assert not {"\t", "\n"} & unseen


def test_an_error_is_one_line_and_cut() -> None:
    assert printable("a\nb\tc\rd", 100) == "a\\nb\\tc\\rd"
    assert printable("x" * 200, 10) == "xxxxxxx..."
