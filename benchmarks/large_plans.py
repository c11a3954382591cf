"""Plans that are too large for a run's parameters: run, killed in the middle, and resumed, each on the embedded server.

    python -m benchmarks.large_plans [NODES BYTES]

By default 5,000 nodes with a line of text, then 1,000 nodes with 2 kB each. Prints the seconds of each step, the peak
memory of the processes, how many nodes had a record when the run was killed, and how many of those ran again: none may.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIZES = ((5_000, 0), (1_000, 2_000))
BOUND = 1_800.0
"""Seconds that a step may take."""


def main() -> None:
    given = [int(argument) for argument in sys.argv[1:3]]
    for nodes, size in [(given[0], given[1])] if len(given) == 2 else SIZES:
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(folder), nodes, size)


def measure(folder: Path, nodes: int, size: int) -> None:
    plan = folder / "plan.json"
    plan.write_text(json.dumps(large_plan(nodes, size)))
    print(f"{nodes:,} nodes with {size:,} bytes of text more: {plan.stat().st_size:,} bytes")
    begun = time.perf_counter()
    process = start(folder, "run", "plan.json", "--simulate", "--quiet")
    while len(records(folder)) < nodes // 3:
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.perf_counter() - begun < BOUND, "no node is recorded"
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = records(folder)
    print(f"  killed after {time.perf_counter() - begun:.0f} s with {len(before):,} nodes recorded")
    begun = time.perf_counter()
    resumed = start(folder, "resume", name_of((folder / "log").read_text()), "--quiet")
    assert resumed.wait(BOUND) == 0, (folder / "log").read_text()
    after = records(folder)
    repeated = sum(after[name] != moment for name, moment in before.items())
    print(f"  resumed in {time.perf_counter() - begun:.0f} s: {len(after):,} nodes recorded, {repeated:,} ran again")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    kept = sum(path.stat().st_size for path in folder.glob("records/plans/*.json"))
    print(f"  peak memory of a process {peak:.0f} MB; the kept plan has {kept:,} bytes")


def large_plan(nodes: int, size: int) -> dict[str, object]:
    """Return a plan in rows of fifty nodes, each of which depends on the one above it."""
    return {
        "id": "large",
        "source_vibe": {"description": "A long report"},
        "root_nodes": [
            {
                "id": f"part-{number:05d}",
                "type": "generate",
                "description": f"Write part {number} of a long report. {'x' * size}",
                "dependencies": [f"part-{number - 50:05d}"] if number >= 50 else [],
            }
            for number in range(nodes)
        ],
    }


def start(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
    own = {"PREFECT_HOME": str(folder / "home"), "PREFECT_INTEGRATIONS_VIBE_PREFECT_STORAGE": str(folder / "records")}
    program = Path(sys.executable).with_name("vibe-prefect")
    with (folder / "log").open("wb") as log:
        return subprocess.Popen([program, *arguments], cwd=folder, env=kept | own, stdout=log, stderr=log)


def records(folder: Path) -> dict[str, int]:
    """Return when each node's record was written, in nanoseconds since 1970."""
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("records/*/part-*")}


def name_of(log: str) -> str:
    return next(line.split()[1] for line in log.splitlines() if line.startswith("run "))


if __name__ == "__main__":
    main()
