"""Checks for all that Prefect would refuse, or change, in a deployment, before its server is asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

from prefect.types.names import BANNED_CHARACTERS

from vibe_prefect.core.models import WorkflowPlan
from vibe_prefect.core.plan_tree import DataPath, dotted
from vibe_prefect.errors import PlanError, Problem, UsageError, shorten
from vibe_prefect.plan.reading.size import slim_data

RESERVED = "prefect"
"""Prefix of the names of Prefect's own work pools, in any case."""

KIND_KEY = "__prefect_kind"
"""Key of Prefect's own mappings: the server puts another value in place of a mapping with it in a run's parameters."""

PLACEHOLDER = "{{"
_CUTS_ADDRESS = ("?", "#", "\\")
"""Characters that would end the path of an address in which Prefect names the deployment or the pool."""


def check_name(option: str, name: str) -> None:
    """Refuse a name that a deployment or a work pool cannot have.

    Args:
        option: The option that gives it, for the message.
        name: The name.

    Raises:
        UsageError: Prefect would refuse it, or could not find it again.
    """
    if problem := _name_problem(name):
        raise UsageError(f"{option} {shorten(name)} cannot be a name: {problem}")


def check_pool_name(option: str, name: str) -> None:
    """Refuse a name that a work pool cannot have; see `check_name`."""
    check_name(option, name)
    if name.lower().startswith(RESERVED):
        raise UsageError(f"{option} {shorten(name)} cannot be a name: Prefect keeps those that begin with 'prefect'")


def check_folder(option: str, folder: Path) -> None:
    """Refuse a folder for workers that has a placeholder in its path: Prefect would fill in a value.

    Raises:
        UsageError: Its path has `{{` in it.
    """
    if PLACEHOLDER in str(folder):
        raise UsageError(
            f"{option} {shorten(str(folder), 200)} has {PLACEHOLDER!r} in it, where Prefect fills in a value when a "
            "worker starts a run; use a folder with another name"
        )


def check_content(plan: WorkflowPlan) -> None:
    """Refuse a plan that the server would change when a deployment that holds it is made or run.

    Raises:
        PlanError: A mapping in it has the key `__prefect_kind`.
    """
    paths = _kinds(slim_data(plan), ())
    message = (
        f"the key {KIND_KEY!r} is Prefect's own, and its server would put another value in place of the mapping; store "
        "the plan with 'vibe-prefect blocks save NAME' and deploy it by that name"
    )
    problems = [Problem(message, None, dotted(path)) for path in paths]
    if problems:
        raise PlanError(problems, plan.id)


def _name_problem(name: str) -> str | None:
    if not name.strip("' \""):
        return "it is empty"
    if banned := [character for character in (*BANNED_CHARACTERS, *_CUTS_ADDRESS) if character in name]:
        return f"it may not have {' '.join(banned)} in it"
    if not name.isprintable():
        return "it may not have line breaks, or other characters that cannot be seen, in it"
    return "it would be read as a folder" if name in (".", "..") else None


def _kinds(value: object, path: DataPath) -> Iterator[DataPath]:
    """Yield the paths of mappings that have the key `__prefect_kind`."""
    if isinstance(value, Mapping):
        mapping = cast("Mapping[str, object]", value)
        if KIND_KEY in mapping:
            yield path
        for key, part in mapping.items():
            yield from _kinds(part, (*path, key))
    elif isinstance(value, list):
        for index, part in enumerate(cast("list[object]", value)):
            yield from _kinds(part, (*path, index))
