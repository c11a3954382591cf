"""From the trigger of a deployed run to its first node at work: `vibe-prefect serve`, and a process worker.

python -m benchmarks.trigger [RUNS]
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time

from prefect.client.orchestration import get_client

from benchmarks.server import standing_server
from tests.deployed.api import call, ended, in_state, process, task_runs, trigger
from tests.deployed.plans import written

RUNS = 5
GOALS = {"serve": 3.0, "worker": 6.0}
"""Seconds that the median may take."""


async def measure(name: str) -> tuple[float, float]:
    """Return the seconds from a trigger until the run has been accepted, and until its first node works."""
    async with get_client() as client:
        begun = time.time()
        run = await trigger(client, name)
        await in_state(client, run, "Pending", "Submitting", "InfrastructurePending", "Running", "Completed")
        accepted = time.time() - begun
        await ended(client, run)
        await asyncio.sleep(2)  # the server records task runs in batches of a second
        starts = [task["start_time"] for task in await task_runs(client, run)]
    first = min(_seconds(start) for start in starts)
    return accepted, first - begun


def _seconds(moment: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp()


def report(way: str, name: str, runs: int) -> bool:
    measured = [asyncio.run(measure(name)) for _ in range(runs)]
    accepted, first = (statistics.median(column) for column in zip(*measured, strict=True))
    worst = max(seconds for _, seconds in measured)
    print(
        f"{way:7} accepted after {accepted:.2f} s, first node after {first:.2f} s (median of {runs}; "
        f"slowest {worst:.2f} s; goal {GOALS[way]:g} s)"
    )
    return first <= GOALS[way]


def main(runs: int) -> int:
    with standing_server() as (folder, api):
        (folder / "served.json").write_text(json.dumps(written("served")))
        (folder / "pooled.json").write_text(json.dumps(written("pooled")))
        with process(folder, api, "serve", "served.json", ready="serving"):
            met = [report("serve", "served", runs)]
        call(folder, api, "deploy", "pooled.json")
        with process(folder, api, "worker", "start", ready="started!"):
            met.append(report("worker", "pooled", runs))
    return 0 if all(met) else 1


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1]) if len(sys.argv) > 1 else RUNS))
