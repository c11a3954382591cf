"""Work and outcomes as bytes: what either process cannot read is said, and nothing is lost."""

from __future__ import annotations

import pickle
import sys
from types import ModuleType

import pytest

from vibe_prefect.errors import NotSentError, ToolError, UnsendableError
from vibe_prefect.run.sending import SentError, execute_payload, unpacked


def test_an_error_whose_class_is_missing_in_the_run_keeps_its_kind_and_text(monkeypatch: pytest.MonkeyPatch) -> None:
    there = ModuleType("only_there")
    farm_error = type("FarmError", (Exception,), {"__module__": "only_there"})
    there.__dict__["FarmError"] = farm_error
    monkeypatch.setitem(sys.modules, "only_there", there)
    sent = SentError.of(farm_error("no paint"))
    assert sent.payload is not None
    monkeypatch.delitem(sys.modules, "only_there")
    error = sent.unpacked()
    assert isinstance(error, UnsendableError)
    assert (error.kind, str(error)) == ("FarmError", "no paint")


def test_an_error_of_a_tool_arrives_with_all_that_it_says() -> None:
    error = ToolError("down", retryable=False, retry_after=3.0)
    error.quality, error.evidence = 0.4, ("a quote",)
    arrived = SentError.of(error).unpacked()
    assert isinstance(arrived, ToolError)
    assert (arrived.retryable, arrived.retry_after, arrived.quality, arrived.evidence) == (
        False,
        3.0,
        0.4,
        ("a quote",),
    )


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"cnot_a_module\nname\n.", "No module named 'not_a_module'"),
        (b"cvibe_prefect.errors\nNoSuchError\n.", "NoSuchError"),
        (pickle.dumps("x")[:-1], ""),
    ],
)
def test_work_that_cannot_be_read_there_is_refused_with_the_reason_and_the_machine(payload: bytes, reason: str) -> None:
    outcome = unpacked(execute_payload(payload, lambda _: None)).outcome
    assert isinstance(outcome.error, NotSentError)
    assert not outcome.error.retryable
    assert "cannot be imported at its placement, on " in str(outcome.error)
    assert reason in str(outcome.error)
    assert outcome.meter.attempts == 1
