"""A plan of as many nodes as a plan may have: checked, shown and simulated; one node more is refused.

    python -m benchmarks.node_limit

Prints the seconds, the CPU seconds and the peak memory of each command.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.large_plans import PROGRAM, SCREEN, Place, large_plan
from vibe_prefect import PlanLimits

MOST = PlanLimits().max_nodes
SIMULATE = (
    "import asyncio; from vibe_prefect import load_plan; from vibe_prefect.testing import run_offline; "
    "result = asyncio.run(run_offline(load_plan('plan.json').plan, simulate='all')); "
    "print(result.get_summary()['completed'], result.status.value)"
)
CPU_BOUND = 120.0
"""CPU seconds that a command may take."""

MEMORY_BOUND = 1_500.0
"""MB that it may take."""


@dataclass(frozen=True)
class Outcome:
    code: int
    said: str


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder))


def measure(folder: Path) -> None:
    """Take the largest plan, and one that is larger, through what needs no server."""
    (folder / "late.txt").write_text("here")
    for name, nodes in (("plan.json", MOST), ("more.json", MOST + 1)):
        (folder / name).write_text(json.dumps(large_plan(Place(folder, "", nodes), 0)))
    checked = call(folder, PROGRAM, "validate", "plan.json")
    assert checked.code == 0
    assert f"{MOST:,} nodes" in checked.said
    assert len(checked.said) < SCREEN
    shown = call(folder, PROGRAM, "show", "plan.json")
    assert shown.code == 0
    assert shown.said.count("part-") >= MOST
    drawn = call(folder, PROGRAM, "show", "plan.json", "--mermaid")
    assert drawn.code == 0
    simulated = call(folder, sys.executable, "-c", SIMULATE)
    assert simulated.said.split() == [str(MOST), "completed"]
    refused = call(folder, PROGRAM, "validate", "more.json")
    assert refused.code == 2
    assert f"more than {MOST:,} nodes" in refused.said
    assert "hint: split the plan" in refused.said
    assert len(refused.said) < SCREEN


def call(folder: Path, program: str, *arguments: str) -> Outcome:
    """Run a command, and print what it took."""
    begun = time.perf_counter()
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen([program, *arguments], cwd=folder, stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    took, cpu, peak = time.perf_counter() - begun, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
    said = log.read_text()
    name = "run_offline, simulated" if program == sys.executable else " ".join(arguments)
    print(f"{name}: {took:.1f} s, {cpu:.1f} s of CPU, peak {peak:.0f} MB, {len(said):,} characters", flush=True)
    assert cpu < CPU_BOUND
    assert peak < MEMORY_BOUND
    return Outcome(process.returncode, said)


if __name__ == "__main__":
    main()
