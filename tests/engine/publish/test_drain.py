"""Waiting for the server: as long as it takes something in, and no longer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from uuid import UUID, uuid4

import pytest

from vibe_prefect.engine.publish import drain
from vibe_prefect.engine.publish.drain import MAX_AHEAD, Pace, wait_recorded

Count = Callable[[], int | None]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[[Count], list[int | None]]:
    """Let the server have on record what a function says; returns what it has answered."""
    monkeypatch.setattr(drain, "FIRST_WAIT", 0.0)
    monkeypatch.setattr(drain, "STALLED_SECONDS", 0.0)

    def install(count: Count) -> list[int | None]:
        answers: list[int | None] = []

        async def counted(flow_run_id: UUID, patience: float = 0) -> int | None:
            answers.append(count())
            return answers[-1]

        monkeypatch.setattr(drain, "count_recorded", counted)
        return answers

    return install


@pytest.mark.parametrize(
    ("told", "recorded", "answers"),
    [([5], 5, 1), ([1, 3, 5], 5, 3), ([3, 3, 3, 3], 3, 2), ([0, 0], 0, 2), ([None], None, 1), ([2, None], None, 2)],
)
async def test_end_of_a_run_is_waited_for_as_long_as_the_server_takes_something_in(
    asked: Callable[[Count], list[int | None]], told: list[int | None], recorded: int | None, answers: int
) -> None:
    left = iter(told)
    given = asked(lambda: next(left))
    assert await wait_recorded(uuid4(), 5) == recorded
    assert len(given) == answers


async def paced(pace: Pace, nodes: int, recorded: Callable[[int], int | None]) -> int:
    """Run nodes as quickly as the pace allows; returns how far they were ahead of the server at most."""
    furthest = 0
    for ended in range(nodes):
        await pace.hold(lambda ended=ended: ended)
        furthest = max(furthest, ended - (recorded(ended) or 0))
    return furthest


async def test_run_is_never_far_ahead_of_what_the_server_has_on_record(
    asked: Callable[[Count], list[int | None]],
) -> None:
    server = 0

    def take_in() -> int:
        nonlocal server
        server += 100
        return server

    given = asked(take_in)
    assert await paced(Pace(uuid4()), 20_000, lambda _: server) <= MAX_AHEAD
    assert len(given) <= 200


async def test_small_run_asks_the_server_nothing(asked: Callable[[Count], list[int | None]]) -> None:
    given = asked(lambda: 0)
    await paced(Pace(uuid4()), MAX_AHEAD, lambda _: 0)
    assert given == []


@pytest.mark.parametrize(("told", "answers"), [(0, 2), (None, 18)])
async def test_server_that_takes_nothing_in_holds_no_run_up(
    asked: Callable[[Count], list[int | None]], told: int | None, answers: int
) -> None:
    given = asked(lambda: told)
    await paced(Pace(uuid4()), 20_000, lambda _: told)
    assert len(given) <= answers + 1


async def test_task_runs_of_an_earlier_try_do_not_count(asked: Callable[[Count], list[int | None]]) -> None:
    server = 5_000

    def take_in() -> int:
        nonlocal server
        server += 100
        return server

    asked(take_in)
    pace = Pace(uuid4())
    await pace.begin()
    assert await paced(pace, 5_000, lambda _: server - 5_100) <= MAX_AHEAD


async def test_nodes_that_wait_side_by_side_ask_once(asked: Callable[[Count], list[int | None]]) -> None:
    given = asked(lambda: MAX_AHEAD)
    pace = Pace(uuid4())
    await asyncio.gather(*(pace.hold(lambda: MAX_AHEAD) for _ in range(50)))
    assert len(given) == 1
