"""Notices of retries, as text and read back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.plans import node
from vibe_prefect import ProgressEvent
from vibe_prefect.core.progress import ProgressReporter
from vibe_prefect.core.retries import Retry, ordinal

RETRY = Retry(2, 4, 3.0, "HTTP 500 from https://cms.example.com, try again")


@pytest.mark.parametrize(
    ("retry", "left", "text"),
    [
        (RETRY, 3.0, "2nd try of 4, next in 3 s, last: HTTP 500 from https://cms.example.com, try again"),
        (RETRY, 90.0, "2nd try of 4, next in 1 min 30 s, last: HTTP 500 from https://cms.example.com, try again"),
        (RETRY, 0.01, "2nd try of 4, next in 1 s, last: HTTP 500 from https://cms.example.com, try again"),
        (RETRY, -1.0, "2nd try of 4, last: HTTP 500 from https://cms.example.com, try again"),
        (RETRY, None, "2nd try of 4, last: HTTP 500 from https://cms.example.com, try again"),
        (replace(RETRY, error="a\nb"), 3.0, "2nd try of 4, next in 3 s, last: a\nb"),
        (replace(RETRY, error=""), None, "2nd try of 4"),
    ],
)
def test_retry_is_told_and_read_back(retry: Retry, left: float | None, text: str) -> None:
    assert retry.text(left) == text
    assert Retry.from_text(f"post: {text}") == replace(retry, pause=None)


@pytest.mark.parametrize("text", ["", "Finished in state Completed()", "2nd tryst of 4"])
def test_retry_is_not_read_from_other_texts(text: str) -> None:
    assert Retry.from_text(text) is None


def test_ordinals() -> None:
    numbers = (1, 2, 3, 4, 11, 12, 13, 21, 22, 101, 111)
    assert " ".join(map(ordinal, numbers)) == "1st 2nd 3rd 4th 11th 12th 13th 21st 22nd 101st 111th"


def test_retry_sends_no_event_to_progress_callbacks() -> None:
    events: list[ProgressEvent] = []
    ProgressReporter(events.append).node_retried(node("a"), RETRY)
    assert events == []
