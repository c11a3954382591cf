"""A plan that is too large for the parameters of a run, through everything that a run can meet."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import node_limit
from benchmarks.large_plans import Place, measure

pytestmark = pytest.mark.storm


@pytest.mark.server
def test_large_plan_is_killed_resumed_served_and_retried_without_repeating_a_node(
    prefect_server: str, folder: Path
) -> None:
    """As `python -m benchmarks.large_plans` does it with more nodes."""
    measure(Place(folder, prefect_server, 600), 1_000)


def test_largest_plan_is_checked_shown_and_simulated_and_a_larger_one_refused(folder: Path) -> None:
    """As `python -m benchmarks.node_limit` does it."""
    node_limit.measure(folder)
