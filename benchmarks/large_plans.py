"""Plans that are too large for a run's parameters, through everything that a run can meet, on one standing server.

    python -m benchmarks.large_plans [NODES BYTES]

By default 5,000 nodes with a line of text, then 1,000 nodes with 2 kB each. A run is killed half way and resumed; the
same plan is served, started as the Prefect UI starts it, fails at one node, and is retried as the UI's Retry does it.
Prints the seconds and the peak memory of each step, and how many nodes were executed although they had finished: none
may be. What anyone is told fits a screen.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import AwaitingRetry

from benchmarks.server import standing_server
from tests.deployed.api import PROGRAM, deployment_id, environment
from vibe_prefect.engine.publish.drain import count_recorded

SIZES = ((5_000, 0), (1_000, 2_000))
WIDTH = 50
"""Nodes of a row; each depends on the one above it."""

BOUND = 1_800.0
"""Seconds that a step may take."""

SCREEN = 4_000
"""Characters of a message that fit a screen."""

STORAGE = "PREFECT_INTEGRATIONS_VIBE_PREFECT_STORAGE"


def main() -> None:
    given = [int(argument) for argument in sys.argv[1:3]]
    with standing_server() as (folder, api):
        for nodes, size in [(given[0], given[1])] if len(given) == 2 else SIZES:
            with tempfile.TemporaryDirectory(dir=folder) as own:
                measure(Place(Path(own), api, nodes), size)


@dataclass(frozen=True)
class Place:
    """Where a plan of so many nodes runs."""

    folder: Path
    api: str
    nodes: int

    @property
    def late(self) -> int:
        """The number of the node that reads a file which may not be there yet."""
        return self.nodes // 2 // WIDTH * WIDTH

    def environment(self) -> dict[str, str]:
        return environment(self.api, self.folder, **{STORAGE: str(self.folder / "records")})

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{arguments[0]}.log").open("wb") as log:
            return subprocess.Popen(
                [PROGRAM, *arguments], cwd=self.folder, env=self.environment(), stdout=log, stderr=log
            )

    def call(self, *arguments: str) -> str:
        """Run a command and return what it said; prints how long it took and its peak memory."""
        return self.measured(*arguments)[0]

    def measured(self, *arguments: str) -> tuple[str, float]:
        """Run a command, and return what it said and its peak memory in MB; prints that and how long it took."""
        begun = time.perf_counter()
        process = self.start(*arguments)
        code, peak = ended(process)
        said = (self.folder / f"{arguments[0]}.log").read_text()
        assert code == 0, said[-SCREEN:]
        print(f"  {arguments[0]}: {time.perf_counter() - begun:.1f} s, peak {peak:.0f} MB, {len(said):,} characters")
        return said, peak

    def records(self) -> dict[str, int]:
        """Return when each node's record was written, in nanoseconds since 1970, by the run and the record."""
        found = self.folder.glob("records/*/part-*")
        return {f"{path.parent.name}/{path.name}": path.stat().st_mtime_ns for path in found}


def measure(place: Place, size: int) -> None:
    """Take a plan through all steps, each with its assertions."""
    plan, late = place.folder / "plan.json", place.folder / "late.txt"
    plan.write_text(json.dumps(large_plan(place, size)))
    late.write_text("here by now")
    print(f"{place.nodes:,} nodes with {size:,} bytes of text more: {plan.stat().st_size:,} bytes", flush=True)
    said = place.call("validate", "plan.json")
    assert "it is kept as a file beside the records" in said
    assert len(said) < SCREEN
    run, before = killed(place)
    assert len(place.call("resume", run, "--quiet")) < SCREEN
    assert_kept(place, before, "resume")
    asyncio.run(assert_on_record(place, run))
    late.unlink()
    with serving(place):
        asyncio.run(retried(place, late))
    page = place.call("report", "-o", "page.html")
    assert len(page) < SCREEN
    print(f"  page of {(place.folder / 'page.html').stat().st_size:,} bytes")
    listed = place.call("runs", "--json")
    assert sum(run["nodes"] == {"done": place.nodes, "total": place.nodes} for run in json.loads(listed)["runs"]) == 2
    kept = sum(path.stat().st_size for path in place.folder.glob("records/plans/*.json"))
    server = max(memory(process) for process in psutil.Process().children())
    print(f"  the kept plan has {kept:,} bytes; peak of the server {server:.0f} MB", flush=True)


def large_plan(place: Place, size: int) -> dict[str, Any]:
    """Return a plan in rows, one node of which needs a file."""
    return {
        "id": f"large-{place.nodes}",
        "source_vibe": {"description": "A long report"},
        "root_nodes": [
            {
                "id": f"part-{number:05d}",
                "type": "transform",
                "description": f"Write part {number} of a long report",
                "dependencies": [f"part-{number - WIDTH:05d}"] if number >= WIDTH else [],
                "parameters": {"tool": "read_text", "tool_inputs": {"path": "late.txt"}}
                if number == place.late
                else {"tool": "combine", "tool_inputs": {"parts": [f"Part {number}. {'x' * size}"]}},
            }
            for number in range(place.nodes)
        ],
    }


def killed(place: Place) -> tuple[str, dict[str, int]]:
    """Kill a run half way; returns its id and its records."""
    begun = time.perf_counter()
    process = place.start("run", "plan.json", "--quiet")
    wait(lambda: len(place.records()) >= place.nodes // 2, "half of the nodes", process)
    process.send_signal(signal.SIGKILL)
    _, peak = ended(process)
    before = place.records()
    print(f"  run: killed after {time.perf_counter() - begun:.0f} s with {len(before):,} records, peak {peak:.0f} MB")
    return next(iter(before)).split("/")[0], before


@contextmanager
def serving(place: Place) -> Generator[None]:
    process = place.start("serve", "plan.json")
    log = place.folder / "serve.log"
    try:
        wait(lambda: "serving" in log.read_text(), "the deployment", process)
        yield
    finally:
        begun = time.perf_counter()
        process.send_signal(signal.SIGINT)
        code, peak = ended(process)
        print(f"  serve: ended with {code} {time.perf_counter() - begun:.0f} s after the signal, peak {peak:.0f} MB")


async def retried(place: Place, late: Path) -> None:
    """Start the served plan as the form does, let it fail, and retry it as the button does."""
    async with get_client() as client:
        deployment = await client.read_deployment(await deployment_id(client, f"large-{place.nodes}"))
        earlier = place.records()
        begun = time.perf_counter()
        run = await client.create_flow_run_from_deployment(deployment.id, parameters=deployment.parameters)
        failed = await over(client, run, "Failed")
        assert str(failed.parameters["plan"]).startswith("kept:")
        before = {name: when for name, when in place.records().items() if name not in earlier}
        lost = (place.nodes - place.late + WIDTH - 1) // WIDTH
        assert len(before) == place.nodes - lost, "all but the late node and what depends on it"
        message = (failed.state and failed.state.message) or ""
        assert "late.txt" in message
        assert len(message) < SCREEN
        print(f"  serve: failed as it must after {time.perf_counter() - begun:.0f} s, {len(before):,} records")
        begun = time.perf_counter()
        await asyncio.to_thread(late.write_text, "here by now")
        await client.set_flow_run_state(run.id, AwaitingRetry(message="Retry from the Prefect UI"), force=True)
        await over(client, run, "Completed")
        print(f"  retry: completed after {time.perf_counter() - begun:.0f} s")
        assert_kept(place, before, "retry")
        await assert_logs_fit(client, run)


async def over(client: PrefectClient, run: FlowRun, state: str) -> FlowRun:
    end = time.monotonic() + BOUND
    while True:
        found = await client.read_flow_run(run.id)
        if found.state_name == state:
            return found
        assert found.state_name not in ("Crashed", "Cancelled"), found.state
        assert time.monotonic() < end, f"{run.name} is {found.state_name}"
        await asyncio.sleep(0.5)


async def assert_logs_fit(client: PrefectClient, run: FlowRun) -> None:
    """Assert that no line of the run's log is longer than a screen, and that nothing could not be written."""
    logs = await client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id])), limit=200)
    longest = max((len(log.message) for log in logs), default=0)
    warnings = {log.message.splitlines()[0] for log in logs if log.level >= 30}
    print(f"  {len(logs)} lines of log, the longest of {longest:,} characters; warnings: {warnings or 'none'}")
    assert longest < SCREEN
    assert not [warning for warning in warnings if "could not be written" in warning]


async def assert_on_record(place: Place, resumed: str) -> None:
    """Assert that the server lost none of the resumed run's task runs, however fast they came."""
    async with get_client() as client:
        runs = await client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC, limit=10)
        (run,) = (run for run in runs if run.parameters.get("resume_from") == resumed)
        recorded = await count_recorded(run.id)
    print(f"  the server has {recorded:,} of {place.nodes:,} task runs in a final state")
    assert recorded == place.nodes


def assert_kept(place: Place, before: dict[str, int], step: str) -> None:
    """Assert that nothing finished was executed again: no record of before was written again, none was lost."""
    after = place.records()
    runs = {name.split("/")[0] for name in before}
    made = [name for name in after if name.split("/")[0] in runs]
    repeated = sum(after.get(name) != when for name, when in before.items())
    print(f"  {step}: {len(before):,} had finished, {len(made):,} have now; executed again: {repeated}", flush=True)
    assert (repeated, len(made)) == (0, place.nodes)


def wait(look: Callable[[], bool], what: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + BOUND
    while not look():
        assert process.poll() is None, f"it ended before {what}"
        assert time.monotonic() < end, f"not within {BOUND:g} s: {what}"
        time.sleep(0.2)


def ended(process: subprocess.Popen[bytes]) -> tuple[int, float]:
    """Wait for a process; returns its exit code and the peak memory of it and its own in MB."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_maxrss / 1024


def memory(process: psutil.Process) -> float:
    """Return the peak memory of a process that lives, in MB."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(peak[1]) / 1024 if peak else 0.0


if __name__ == "__main__":
    main()
