"""The ready-queue beside other work of the event loop."""

from __future__ import annotations

import asyncio
import time

from vibe_prefect.run.scheduler import run_in_order


def keep_busy(seconds: float) -> None:
    """Take the loop's time, as showing a reused node does, which awaits nothing."""
    time.sleep(seconds)


async def test_nodes_that_never_wait_leave_turns_to_the_rest_of_the_loop() -> None:
    done: list[str] = []
    turns = 0

    async def run(id: str) -> None:
        keep_busy(0.002)
        done.append(id)

    async def listen() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    listener = asyncio.ensure_future(listen())
    await run_in_order({(f"n{index}", False): () for index in range(300)}, run)
    listener.cancel()
    assert len(set(done)) == len(done) == 300
    assert turns >= 5, "0.6 s of work in slices of 0.1 s"


async def test_nodes_keep_their_order_in_slices() -> None:
    done: list[str] = []

    async def run(id: str) -> None:
        keep_busy(0.001)
        done.append(id)

    chain = {(f"n{index}", False): ((f"n{index - 1}", False),) if index else () for index in range(200)}
    await run_in_order(chain, run)
    assert done == [f"n{index}" for index in range(200)]
