"""What the benchmarks measure, and the target of each figure. A row is added here and nowhere else."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Literal

from benchmarks import plans
from benchmarks.shapes import SHAPES

Figure = Literal["seconds", "cpu", "peak_mb", "makespan"]
"""`seconds` are those of the whole call; `makespan` those from the begin of the first node to the end of the last."""

PROGRAM = str(Path(sys.executable).with_name("vibe-prefect"))


@dataclass(frozen=True)
class Case:
    """One measurement, which each round makes once in a fresh process."""

    command: tuple[str, ...]
    """The process."""

    prints_figures: bool = True
    """Whether it prints its figures; else they are those of the whole process."""

    settles: bool = True
    """Whether it sends task runs to the server, which are to be on record before the next measurement."""

    once: bool = False
    """Whether only the first round makes it: it takes a minute or more, and its figures differ little."""

    @cached_property
    def name(self) -> str:
        """Words that name it in a file of results."""
        return " ".join(Path(part).name if "/" in part else part for part in self.command)


@dataclass(frozen=True)
class Row:
    """One figure: that of a case, less another case's, divided by a third one's."""

    name: str
    """What it is."""

    of: Case
    """The case that it is about."""

    figure: Figure = "seconds"
    """Which of its figures."""

    less: Case | None = None
    """The case whose figure is subtracted."""

    over: Case | None = None
    """The case whose figure it is divided by."""

    scale: float = 1.0
    """Factor of the result: the units in a second, by the number of nodes."""

    unit: str = "x"
    """Unit of the result."""

    target: float | None = None
    """Largest value that is allowed; `None` where the row only informs."""

    @property
    def cases(self) -> tuple[Case, ...]:
        """The cases that it needs."""
        return tuple(case for case in (self.of, self.less, self.over) if case is not None)

    def value(self, measured: Mapping[Case, list[dict[str, float]]]) -> float:
        """Return the value from the medians of all rounds."""

        def middle(case: Case) -> float:
            return median(figures[self.figure] for figures in measured[case])

        value = middle(self.of) - (middle(self.less) if self.less else 0.0)
        return self.scale * value / (middle(self.over) if self.over else 1.0)


def run(way: str, *arguments: object) -> Case:
    """Return the case of one run; see `benchmarks.one_run`."""
    command = (sys.executable, "-m", "benchmarks.one_run", way, *map(str, arguments))
    is_long = 5_000 in arguments or (way == "submitted" and 1_000 in arguments)
    return Case(command, settles=way != "compile", once=is_long)


def process(*command: str) -> Case:
    """Return the case of a whole process that needs no server."""
    return Case(command, prints_figures=False, settles=False)


def rows(sizes: tuple[int, ...]) -> Iterator[Row]:
    """Yield all rows.

    Args:
        sizes: Numbers of nodes of the plans.
    """
    for size in (size for size in sizes if size <= 1_000):
        for shape in SHAPES if size < 1_000 else ("wide", "chain"):
            yield from _overhead(shape, size)
    yield from _large(sizes)
    for plan, target in ((plans.realistic(), 1.05), (plans.straggler(), 1.10)):
        critical = plans.critical_path(plan)
        figures: tuple[tuple[str, Figure, float | None], ...] = (
            ("makespan", "makespan", target),
            ("whole call", "seconds", None),
        )
        for words, figure, most in figures:
            name = f"{words} / critical path, {plan.id} ({critical:.1f} s)"
            yield Row(name, run("ours", plan.id), figure, scale=1 / critical, target=most)
            yield Row(f"{words} of the direct flow, {plan.id}", run("direct", plan.id), figure, scale=1 / critical)
    for size, target in ((1, None), (100, 3.0), (1_000, 1.5)):
        if size <= max(sizes):
            case = run("resume", "wide", size)
            yield Row(f"resume of {size:,} finished", case, scale=1_000 / size, unit="ms/node", target=target)
            yield Row(f"resume of {size:,} finished, CPU", case, "cpu", scale=1_000 / size, unit="ms/node")
    for seconds, target in ((0.2, 1.10), (0, None)):
        told, untold = (run(way, "wide", 100, seconds) for way in ("feedback", "no-feedback"))
        yield Row(f"feedback / without, 100 nodes of {seconds:g} s", told, over=untold, target=target)
    yield Row("three nodes of 0.2 s", run("ours", "wide", 3, 0.2), unit="s", target=0.5)
    yield from _commands()


def _overhead(shape: str, size: int) -> Iterator[Row]:
    """Yield the rows of a shape at zero work."""
    ours, direct = run("ours", shape, size), run("direct", shape, size)
    targets = {"wide": 0.8, "chain": 1.0} if size == 1_000 else {}
    yield Row(f"{shape} {size:,}", ours, scale=1_000 / size, unit="ms/node")
    yield Row(f"{shape} {size:,}, CPU", ours, "cpu", scale=1_000 / size, unit="ms/node")
    yield Row(f"{shape} {size:,} / direct", ours, over=direct, target=targets.get(shape))
    yield Row(f"{shape} {size:,} / direct, CPU", ours, "cpu", over=direct)
    if shape in ("wide", "chain"):
        submitted, target = run("submitted", shape, size), 0.25 if size == 1_000 else None
        yield Row(f"{shape} {size:,} / submitted", ours, over=submitted, target=target)


def _large(sizes: tuple[int, ...]) -> Iterator[Row]:
    """Yield what a large plan costs beside a smaller one."""
    size = max(sizes)
    if size >= 1_000:
        ours, direct = run("ours", "wide", 1_000), run("direct", "wide", 1_000)
        yield Row("memory of wide 1,000 / direct", ours, "peak_mb", over=direct, target=1.3)
    if size >= 5_000:
        for shape in ("wide", "layered"):
            ours, smaller = run("ours", shape, 5_000), run("ours", shape, 500)
            yield Row(f"a node of {shape} 5,000 / of 500", ours, over=smaller, scale=0.1, target=1.2)
            yield Row(f"memory of {shape} 5,000", ours, "peak_mb", unit="MB")
            yield Row(f"{shape} 5,000", ours, scale=0.2, unit="ms/node")
    yield Row("compile 10,000 nodes", run("compile", 10_000), unit="s", target=0.3)


def _commands() -> Iterator[Row]:
    """Yield how soon a process begins."""
    python, prefect = process(sys.executable, "-c", "pass"), process(sys.executable, "-c", "import prefect")
    ours = process(sys.executable, "-c", "import vibe_prefect")
    both = process(sys.executable, "-c", "import prefect, vibe_prefect")
    yield Row("import vibe_prefect", ours, less=python, unit="s", target=0.25)
    yield Row("import vibe_prefect after prefect", both, less=prefect, unit="s", target=0.2)
    validate = process(PROGRAM, "validate", "hundred.json")
    yield Row("validate 100 nodes", validate, unit="s", target=0.6)
    yield Row("validate 100 nodes, CPU", validate, "cpu", unit="s")
