"""How soon commands and imports begin, in fresh processes; the demo among them, without a server and with one.

    python -m benchmarks.startup [rounds]

The commands take turns, so that whatever else the machine does meets all of them alike. Prints for each command the
median and the fastest of its rounds in seconds, the CPU seconds of its process, the time until its first line and until
its first node starts, and its target with whether the median holds it. The demo's first time includes the start of a
Prefect server with a new database, and the second finds that server. The modules are compiled before, as an
installation has them; a shell's `PYTHONDONTWRITEBYTECODE` would have them compiled each time.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from compileall import compile_dir
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

ROUNDS = 5
ROOT = Path(__file__).resolve().parents[1]
PROGRAM = str(Path(sys.executable).with_name("vibe-prefect"))
PLAN = str(ROOT / "flows" / "plans" / "release_digest.yaml")
DEMO = ("run", PLAN, "--input-root", str(ROOT))
UNWANTED = ("PREFECT", "VIBE_PREFECT", "PYTHONDONTWRITEBYTECODE")
BARE, PREFECT = "python", "import prefect"
PROGRAMS: Mapping[str, tuple[str, ...]] = {
    BARE: (sys.executable, "-c", "print()"),
    "import vibe_prefect": (sys.executable, "-c", "import vibe_prefect; print()"),
    PREFECT: (sys.executable, "-c", "import prefect; print()"),
    "import both": (sys.executable, "-c", "import prefect, vibe_prefect; print()"),
    "every name of ours": (sys.executable, "-c", "import prefect; from vibe_prefect import *; print()"),
    "--help": (PROGRAM, "--help"),
    "tools": (PROGRAM, "tools"),
    "validate": (PROGRAM, "validate", PLAN),
    "show": (PROGRAM, "show", PLAN),
    "run --simulate": (PROGRAM, "run", PLAN, "--simulate"),
    "demo, cold": (PROGRAM, *DEMO),
    "demo, second time": (PROGRAM, *DEMO),
}
TARGETS: Mapping[str, float] = {
    "--help": 0.6,
    "tools": 0.6,
    "validate": 0.6,
    "show": 0.6,
}
"""Most seconds of a program."""

IMPORTS: Mapping[str, tuple[str, float]] = {"import vibe_prefect": (BARE, 0.25), "import both": (PREFECT, 0.2)}
"""Most seconds of a program on top of another one."""

FIRST_LINES: Mapping[str, float] = {"run --simulate": 0.5, "demo, cold": 0.5, "demo, second time": 0.5}
"""Most seconds until the first line."""

FIRST_NODES: Mapping[str, float] = {"demo, second time": 3.0}
"""Most seconds until the first node starts."""

NODE_STARTS = b"] start "
"""Part of the line about a node that starts, as a pipe gets it."""


@dataclass(frozen=True)
class Timing:
    """One call of a command, in seconds."""

    total: float
    first_line: float
    cpu: float
    first_node: float | None
    """Seconds until a node starts; `None` where none does."""


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    compile_dir(str(ROOT / "vibe_prefect"), quiet=1)
    timings: dict[str, list[Timing]] = {name: [] for name in PROGRAMS}
    for _ in range(rounds):
        with home() as (folder, environment):
            for name, arguments in PROGRAMS.items():
                timings[name].append(timed(arguments, folder, environment))
    print(f"{'program':18} {'median':>9} {'fastest':>9} {'CPU':>9} {'1st line':>9} {'1st node':>9}  target")
    medians = {name: median(timing.total for timing in of) for name, of in timings.items()}
    for name, of in timings.items():
        fastest = min(timing.total for timing in of)
        cpu, first = median(timing.cpu for timing in of), median(timing.first_line for timing in of)
        nodes = [timing.first_node for timing in of if timing.first_node is not None]
        node = median(nodes) if nodes else None
        kept = "; ".join(targets(name, medians, first, node))
        figures = " ".join(f"{figure:7.2f} s" for figure in (medians[name], fastest, cpu, first))
        print(f"{name:18} {figures} {'' if node is None else f'{node:7.2f} s':>9}  {kept}".rstrip())
    print(f"medians of {rounds} rounds; load of the machine: {os.getloadavg()[0]:.1f}")


def targets(name: str, medians: Mapping[str, float], first_line: float, first_node: float | None) -> Generator[str]:
    """Yield each target of a program, and whether it holds."""
    if name in TARGETS:
        yield verdict("", medians[name], TARGETS[name])
    if name in IMPORTS:
        below, most = IMPORTS[name]
        yield verdict(f"over {below} {medians[name] - medians[below]:.2f} s ", medians[name] - medians[below], most)
    if name in FIRST_LINES:
        yield verdict("1st line ", first_line, FIRST_LINES[name])
    if name in FIRST_NODES:
        assert first_node is not None, f"{name!r} has started no node"
        yield verdict("1st node ", first_node, FIRST_NODES[name])


def verdict(label: str, seconds: float, most: float) -> str:
    return f"{label}< {most:g} s: {'holds' if seconds < most else 'missed'}"


@contextmanager
def home() -> Generator[tuple[Path, dict[str, str]]]:
    """Yield a folder and an environment with a Prefect home of its own, whose server is stopped in the end."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kept = {key: value for key, value in os.environ.items() if not key.startswith(UNWANTED)}
        environment = kept | {"PREFECT_HOME": str(folder / "home")}
        try:
            yield folder, environment
        finally:
            call = [PROGRAM, "server", "stop", "--force"]
            subprocess.run(call, cwd=folder, env=environment, check=True, capture_output=True)


def timed(arguments: tuple[str, ...], folder: Path, environment: Mapping[str, str]) -> Timing:
    """Call a program and time it."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.perf_counter()
    command = subprocess.Popen(arguments, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert command.stdout is not None
    lines: list[bytes] = []
    first_line, first_node = 0.0, None
    for line in command.stdout:
        passed = time.perf_counter() - begun
        first_line = first_line or passed
        first_node = passed if first_node is None and NODE_STARTS in line else first_node
        lines.append(line)
    code = command.wait()
    assert code == 0, b"".join(lines).decode()
    total = time.perf_counter() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Timing(total, first_line, cpu, first_node)


if __name__ == "__main__":
    main()
