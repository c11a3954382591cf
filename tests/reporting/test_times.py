"""Times that people read: local, with the zone."""

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.browsers import running_browser
from tests.reporting.reports import release_report
from vibe_prefect.reporting.html import render_html
from vibe_prefect.reporting.markdown import markdown_summary
from vibe_prefect.reporting.words import instant, when


@pytest.fixture
def in_berlin(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "shown", "exact"),
    [
        ("2026-03-04T05:06:07+00:00", "2026-03-04 06:06:07 CET", "2026-03-04T05:06:07Z"),
        ("2026-07-04T23:30:00", "2026-07-05 01:30:00 CEST", "2026-07-04T23:30:00Z"),
        ("2026-03-04T05:06:07+05:00", "2026-03-04 01:06:07 CET", "2026-03-04T00:06:07Z"),
        ("soon", "–", ""),  # noqa: RUF001 - the dash for what is not known
    ],
)
def test_times_are_local_with_their_zone(in_berlin: None, text: str, shown: str, exact: str) -> None:
    assert (when(text), instant(text)) == (shown, exact)


def test_summary_names_the_writers_zone(in_berlin: None) -> None:
    assert "Started: **2026-03-04 06:06:07 CET**" in markdown_summary(release_report())


def test_page_shows_the_readers_zone_and_utc_beside_it(in_berlin: None, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(render_html(release_report()))
    assert '<time datetime="2026-03-04T05:06:07Z" title="2026-03-04T05:06:07Z">2026-03-04 06:06:07 CET</time>' in (
        page.read_text()
    )
    with running_browser() as browser:
        reader = browser.new_context(timezone_id="America/New_York", locale="en-US").new_page()
        reader.goto(page.as_uri())
        assert reader.locator("time").first.inner_text() == "2026-03-04 00:06:07 EST"
