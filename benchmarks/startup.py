"""How soon commands begin, in fresh processes: the quick ones, a simulation, the demo without and with a server.

    python -m benchmarks.startup [rounds]

The commands take turns, so that whatever else the machine does meets all of them alike. Prints for each command the
median and the fastest of its rounds in seconds, the CPU seconds of its process, the time until its first line, and the
median as a multiple of the quickest command's. The demo's first time includes the start of a Prefect server with a new
database, and the second finds that server.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

ROUNDS = 5
ROOT = Path(__file__).resolve().parents[1]
PROGRAM = str(Path(sys.executable).with_name("vibe-prefect"))
PLAN = str(ROOT / "flows" / "plans" / "release_digest.yaml")
DEMO = ("run", PLAN, "--input-root", str(ROOT))
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "--help": ("--help",),
    "tools": ("tools",),
    "validate": ("validate", PLAN),
    "show": ("show", PLAN),
    "run --simulate": ("run", PLAN, "--simulate"),
    "demo, cold": DEMO,
    "demo, second time": DEMO,
}


@dataclass(frozen=True)
class Timing:
    """One call of a command, in seconds."""

    total: float
    first_line: float
    cpu: float


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    timings: dict[str, list[Timing]] = {name: [] for name in COMMANDS}
    for _ in range(rounds):
        with home() as (folder, environment):
            for name, arguments in COMMANDS.items():
                timings[name].append(timed(arguments, folder, environment))
    quickest = min(median(timing.total for timing in of) for of in timings.values())
    print(f"{'command':18} {'median':>9} {'fastest':>9} {'CPU':>9} {'1st line':>9}  ratio")
    for name, of in timings.items():
        middle = median(timing.total for timing in of)
        fastest = min(timing.total for timing in of)
        cpu, first = median(timing.cpu for timing in of), median(timing.first_line for timing in of)
        print(f"{name:18} {middle:7.2f} s {fastest:7.2f} s {cpu:7.2f} s {first:7.2f} s  {middle / quickest:.1f}")
    print(f"medians of {rounds} rounds; load of the machine: {os.getloadavg()[0]:.1f}")


@contextmanager
def home() -> Generator[tuple[Path, dict[str, str]]]:
    """Yield a folder and an environment with a Prefect home of its own, whose server is stopped in the end."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT", "VIBE_PREFECT"))}
        environment = kept | {"PREFECT_HOME": str(folder / "home")}
        try:
            yield folder, environment
        finally:
            call = [PROGRAM, "server", "stop", "--force"]
            subprocess.run(call, cwd=folder, env=environment, check=True, capture_output=True)


def timed(arguments: tuple[str, ...], folder: Path, environment: Mapping[str, str]) -> Timing:
    """Call the command and time it."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.perf_counter()
    command = subprocess.Popen(
        [PROGRAM, *arguments], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert command.stdout is not None
    command.stdout.readline()
    first_line = time.perf_counter() - begun
    rest = command.stdout.read()
    code = command.wait()
    assert code == 0, rest.decode()
    total = time.perf_counter() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Timing(total, first_line, cpu)


if __name__ == "__main__":
    main()
