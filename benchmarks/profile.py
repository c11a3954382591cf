"""Where the time of a run, or of `vibe-prefect validate`, goes: CPU milliseconds of its main thread by its parts.

    python -m benchmarks.profile ours|resume wide|chain|layered|diamond NODES
    python -m benchmarks.profile validate PLAN

Functions that call one another are indented below the one that is meant; each line holds the time of what it calls. The
profiler itself about doubles what Python code takes, so the shares count, and not the sums.
"""

from __future__ import annotations

import asyncio
import cProfile
import pstats
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.one_run import WAYS, settled

Part = tuple[str, str, str]
"""Words for it, the end of the path of its file, and its function."""

RUN: Sequence[Part] = (
    ("compiling the plan", "plan/compiler.py", "compile_plan"),
    ("Prefect begins the flow run", "prefect/flow_engine.py", "start"),
    ("a node, from its turn to its end", "engine/run/runner.py", "_run"),
    ("  Prefect's task run", "engine/run/tasks.py", "run_node"),
    ("    states and events of the task run", "prefect/task_engine.py", "set_state"),
    ("    the attempt", "engine/run/runner.py", "_attempt"),
    ("      the node's work", "run/node_work.py", "execute_node"),
    ("    the record is written", "engine/records/storage.py", "save_record"),
    ("  feedback, progress, events", "run/run_state.py", "complete"),
    ("  a reused node is shown", "engine/run/unexecuted.py", "show_unexecuted"),
    ("records are read", "engine/records/storage.py", "read_record"),
    ("the report is made", "reporting/report_making.py", "report_of"),
    ("Prefect ends the flow run", "prefect/flow_engine.py", "handle_success"),
)

VALIDATE: Sequence[Part] = (
    ("imports", "<frozen importlib._bootstrap>", "_find_and_load"),
    ("reading the plan", "plan/reading/plan_file.py", "load_plan"),
    ("settings", "settings/package.py", "load_settings"),
    ("compiling the plan", "plan/compiler.py", "compile_plan"),
)


def main(way: str, *arguments: str) -> None:
    # Not that of the process: the CPU time of other threads would count for what this one was about.
    profile = cProfile.Profile(time.thread_time)
    if way == "validate":
        profile_validate(profile, arguments[0])
        report(profile, VALIDATE, 1)
        return
    from benchmarks.server import standing_server  # Prefect is not to be there before the commands that do without it

    with standing_server() as (folder, _), tempfile.TemporaryDirectory(dir=folder) as own:
        asyncio.run(profile_run(profile, way, arguments, Path(own)))
    report(profile, RUN, int(arguments[1]))


async def profile_run(profile: cProfile.Profile, way: str, arguments: tuple[str, ...], folder: Path) -> None:
    make, call = WAYS[way]
    await call(make("wide", "2"), folder, lambda: None)
    await call(make(*arguments), folder, profile.enable)
    profile.disable()
    await settled()  # the server goes with the block around this, and what it was not told yet would have nowhere to go


def profile_validate(profile: cProfile.Profile, plan: str) -> None:
    sys.argv = ["vibe-prefect", "validate", plan]
    profile.enable()
    from vibe_prefect.cli import main as command

    try:
        command()
    except SystemExit:
        pass
    finally:
        profile.disable()


def report(profile: cProfile.Profile, parts: Sequence[Part], nodes: int) -> None:
    """Print the time of each part that occurred."""
    stats: Any = pstats.Stats(profile)
    times: dict[tuple[str, int, str], tuple[int, int, float, float, Any]] = stats.stats
    print(f"{'part':<44} {'ms':>9} {'ms a node':>10} {'share':>6}")
    for words, file, function in parts:
        seconds = sum(entry[3] for key, entry in times.items() if key[0].endswith(file) and key[2] == function)
        if seconds:
            share = seconds / stats.total_tt
            print(f"{words:<44} {1000 * seconds:>9.1f} {1000 * seconds / nodes:>10.3f} {share:>6.0%}")
    print(f"{'all':<44} {1000 * stats.total_tt:>9.1f} {1000 * stats.total_tt / nodes:>10.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
