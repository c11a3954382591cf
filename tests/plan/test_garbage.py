"""Python's garbage collector looks less often while a run makes what stays."""

from __future__ import annotations

import gc
from collections.abc import Generator

import pytest

from vibe_prefect.plan.garbage import MANY, fewer_collections


@pytest.fixture(autouse=True)
def usual_collections() -> Generator[None]:
    usual = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*usual)


def test_fewer_looks_for_garbage_last_as_long_as_the_block() -> None:
    with fewer_collections():
        assert gc.get_threshold() == (MANY, 10, 10)
    assert gc.get_threshold() == (700, 10, 10)


@pytest.mark.parametrize("ending", [(0, 1), (1, 0)])
def test_runs_that_overlap_leave_the_usual_number_of_looks_whichever_ends_first(ending: tuple[int, int]) -> None:
    runs = fewer_collections(), fewer_collections()
    for run in runs:
        run.__enter__()
    for number in ending:
        runs[number].__exit__(None, None, None)
    assert gc.get_threshold() == (700, 10, 10)


@pytest.mark.parametrize("threshold", [0, MANY, 3 * MANY])
def test_whoever_asked_for_as_few_looks_or_none_keeps_that(threshold: int) -> None:
    gc.set_threshold(threshold, 5, 5)
    with fewer_collections():
        assert gc.get_threshold() == (threshold, 5, 5)
    assert gc.get_threshold() == (threshold, 5, 5)
