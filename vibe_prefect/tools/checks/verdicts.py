"""Shared parts of the checking tools: single checks, and the verdict over all of them.

A check that fails makes the tool report failure with every problem, so a validate node is a gate. The verdict's
metadata hold `quality`, the part of the checks that passed, `criteria`, each check with the score 0 or 1, and
`evidence`, a line for each check.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from typing_extensions import TypedDict

from vibe_prefect.tools.base import ToolResult

MAX_SHOWN = 10
"""Failed checks that the error names; the report has them all."""


class Check(TypedDict):
    """One check."""

    name: str
    """The input that asked for it, such as `max_words`."""

    passed: bool
    """Whether it passed."""

    detail: str
    """Description of what was found, what was expected, and where."""


class Report(TypedDict):
    """Output of every checking tool."""

    passed: bool
    """Whether all checks passed."""

    checks: list[Check]
    """The checks, in the order of the inputs."""


def check(name: str, passed: bool, detail: str) -> Check:
    """Return a check that was made."""
    return Check(name=name, passed=passed, detail=detail)


def bounds(name: str, found: float, unit: str, least: float | None, most: float | None) -> list[Check]:
    """Check a figure against the least and the most that it may be; no check for a bound that is `None`."""
    figure = f"{number(found)} {unit}".rstrip()
    checks: list[Check] = []
    if least is not None:
        checks.append(check(f"min_{name}", found >= least, f"{figure}, at least {number(least)} expected"))
    if most is not None:
        checks.append(check(f"max_{name}", found <= most, f"{figure}, at most {number(most)} expected"))
    return checks


def verdict(report: Mapping[str, Any], checks: Sequence[Check]) -> ToolResult:
    """Return a report as a tool's result: failed, with all problems in the error, when a check did not pass."""
    passed = [outcome["passed"] for outcome in checks]
    evidence = [
        f"{'passed' if outcome['passed'] else 'failed'}: {outcome['name']}: {outcome['detail']}" for outcome in checks
    ]
    criteria = [
        {"name": outcome["name"], "score": float(outcome["passed"]), "reason": outcome["detail"]} for outcome in checks
    ]
    quality = round(sum(passed) / max(1, len(passed)), 3)
    metadata = {"quality": quality, "criteria": criteria, "evidence": evidence}
    return ToolResult(all(passed), dict(report), metadata, None if all(passed) else _failure(checks))


def number(value: float) -> str:
    """Return a figure with its thousands apart."""
    return f"{int(value):,}" if value == int(value) else f"{value:,}"


def _failure(checks: Sequence[Check]) -> str:
    failed = [f"{outcome['name']}: {outcome['detail']}" for outcome in checks if not outcome["passed"]]
    plural = "s" if len(checks) > 1 else ""
    unlisted = f"; and {len(failed) - MAX_SHOWN} more" if len(failed) > MAX_SHOWN else ""
    return f"{len(failed)} of {len(checks)} check{plural} failed: {'; '.join(failed[:MAX_SHOWN])}{unlisted}"
