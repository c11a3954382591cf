"""Ctrl-C where libraries are at work."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress

import pytest

from vibe_prefect.cli.interrupt import sure_interrupt


def make_another_error() -> None:
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        raise ValueError("could not be read") from None


def swallow() -> None:
    with suppress(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("library", [make_another_error, swallow, lambda: signal.raise_signal(signal.SIGINT)])
def test_ctrl_c_gets_through_whatever_a_library_makes_of_it(library: Callable[[], None]) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), sure_interrupt():
        library()
    assert signal.getsignal(signal.SIGINT) is before


def test_other_errors_pass() -> None:
    with pytest.raises(ValueError, match="mine"), sure_interrupt():
        raise ValueError("mine")
