"""All rows of `benchmarks.rows` in one interleaved run on one standing server.

    python -m benchmarks [--quick] [--rounds N] [--only TEXT] [--output FILE]

Each round makes each measurement once, in a fresh process, so that whatever else the machine does meets all alike; the
longest are made in the first round alone.
Prints the medians, and whether each target holds; the file gets each measurement and each row as a line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from compileall import compile_dir
from pathlib import Path
from typing import Any

from benchmarks import plans, rows
from benchmarks.one_run import settled
from benchmarks.rows import Case, Row
from benchmarks.server import standing_server

ROOT = Path(__file__).resolve().parents[1]

SIZES = (10, 100, 1_000, 5_000)

QUICK = (10, 100)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small plans and one round")
    parser.add_argument("--rounds", type=int, help="measurements of each case; 2 by default")
    parser.add_argument("--only", default="", help="rows whose name contains this text")
    parser.add_argument("--output", type=Path, default=Path("bench.jsonl"), help="file for the lines of JSON")
    given = parser.parse_args()
    chosen = [row for row in rows.rows(QUICK if given.quick else SIZES) if given.only in row.name]
    measured: dict[Case, list[dict[str, float]]] = {case: [] for row in chosen for case in row.cases}
    compile_dir(str(ROOT / "vibe_prefect"), quiet=1)
    with standing_server() as (folder, api), given.output.open("w") as output:
        (folder / "hundred.json").write_text(plans.large(100).model_dump_json())
        for turn in range(given.rounds or (1 if given.quick else 2)):
            for number, (case, figures) in enumerate(measured.items(), 1):
                if turn and case.once:
                    continue
                progress = f"round {turn + 1}, {number} of {len(measured)}: {case.name}"
                print(f"\r{progress:<100.100}", end="", file=sys.stderr, flush=True)
                figures.append(measure(case, folder, api))
                write(output, case=case.name, round=turn + 1, load=os.getloadavg()[0], **figures[-1])
        print("\r", " " * 100, "\r", end="", file=sys.stderr)
        missed = [row for row in chosen if not report(row, measured, output)]
    targets = sum(row.target is not None for row in chosen)
    print(f"{len(missed)} of {targets} targets missed; load of the machine {os.getloadavg()[0]:.1f}")
    return 1 if missed else 0


def measure(case: Case, folder: Path, api: str) -> dict[str, float]:
    """Run a case in a fresh process and return its figures."""
    if case.settles:
        asyncio.run(settled())
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process = subprocess.Popen(
        case.command, cwd=folder, env=environment(folder, api), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    said, problem = process.communicate()
    seconds = time.perf_counter() - begun
    assert process.returncode == 0, problem.decode()[-4_000:]
    if case.prints_figures:
        return json.loads(said)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"seconds": seconds, "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}


def environment(folder: Path, api: str) -> dict[str, str]:
    """Return the environment of a measurement: that of a user of a standing server, with modules that are compiled."""
    unwanted = ("PREFECT", "VIBE_PREFECT", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    client = {"PREFECT_API_URL": api, "PREFECT_HOME": str(folder / "client"), "PREFECT_LOGGING_LEVEL": "CRITICAL"}
    return kept | client | {"PYTHONPATH": str(ROOT), "PREFECT_LOGGING_TO_API_ENABLED": "false"}


def report(row: Row, measured: Mapping[Case, list[dict[str, float]]], output: Any) -> bool:
    """Print a row, and return whether its target holds."""
    value = row.value(measured)
    holds = None if row.target is None else value <= row.target
    verdict = "" if holds is None else f"{'holds' if holds else 'MISSED'} (<= {row.target:g})"
    print(f"{row.name:<44} {value:>9.3f} {row.unit:<8} {verdict}".rstrip(), flush=True)
    write(output, row=row.name, value=value, unit=row.unit, target=row.target, holds=holds)
    return holds is not False


def write(output: Any, **line: object) -> None:
    """Write a line of JSON at once: a run of hours may be stopped."""
    output.write(json.dumps(line) + "\n")
    output.flush()


if __name__ == "__main__":
    raise SystemExit(main())
