"""Bounds for the folders and files in a deployed run's parameters, which narrow the operator's settings at most.

Whoever may start a run of a deployment, by the form, a schedule or the API, chooses its parameters. Whoever starts the
process that executes it chooses the settings. Code on this machine, the command line included, belongs to the operator:
its parameters are not bounded.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from prefect.client.schemas.objects import FlowRun
from pydantic_core import to_json

from vibe_prefect.errors import PlanError, Problem, UsageError, shorten
from vibe_prefect.plan.reading.plan_file import LoadedPlan, load_plan
from vibe_prefect.settings.package import VibePrefectSettings, load_settings, variable

FLOW_RUN_VARIABLE = "PREFECT__FLOW_RUN_ID"
"""Environment variable with the id of the run that a worker's or runner's process executes."""

Root = Literal["input_root", "output"]
"""A parameter that names a folder, and the setting that bounds it."""

Whole = Callable[[PlanError], PlanError]
"""Returns an error about a plan with every problem of the plan."""

_DEFAULTS = {name: VibePrefectSettings.model_fields[name].default for name in ("input_root", "output", "plan_roots")}

_KINDS = ("not YAML", "not JSON", "not UTF-8 text", "cannot be read", "nested too deeply")
"""Beginnings of messages that say what is wrong with a file before they quote it."""


def as_it_is(error: PlanError) -> PlanError:
    """Return an error unchanged."""
    return error


@dataclass(frozen=True)
class OperatorRoots:
    """The folders that bound the parameters of a deployed run."""

    settings: VibePrefectSettings
    """The settings of the process that executes the run."""

    def folder(self, name: Root, value: str) -> str:
        """Return the folder that a parameter names.

        Args:
            name: The parameter.
            value: Its value. The package's own default, with which the form comes, stands for the setting.

        Raises:
            UsageError: It is outside the operator's folder.
        """
        root: str = getattr(self.settings, name)
        if value in ("", root, _DEFAULTS[name]):
            return root
        resolved = _resolved(value)
        if resolved is None or not _is_below(resolved, _resolved(root)):
            raise UsageError(
                f"{name} {shorten(value, 200)} is refused: a deployed run may use {shorten(root, 200)} and folders "
                f"below it, as the setting {variable(name)} of its worker says"
            )
        return str(resolved)

    def load_plan(self, path: str, whole: Whole = as_it_is) -> LoadedPlan:
        """Read the plan file that a parameter names.

        Where the setting names a folder, messages about a file in it quote nothing: the file may be no plan at all.

        Args:
            path: The file.
            whole: Adds to an error the problems that compiling shows.

        Raises:
            UsageError: It is outside the folders of plan files.
            PlanError: It cannot be read, or is no plan.
        """
        allowed = self.settings.plan_roots
        resolved, roots = _resolved(path), [_resolved(root) for root in allowed]
        if resolved is None or not any(_is_below(resolved, root) for root in roots):
            raise UsageError(
                f"the plan file {shorten(path, 200)} is refused: a deployed run may use plan files in "
                f"{shorten(os.pathsep.join(allowed), 200)}, as the setting {variable('plan_roots')} of its worker says"
            )
        try:
            return load_plan(resolved)
        except PlanError as error:
            if resolved in roots:  # the operator says that this very file is a plan
                raise
            raise PlanError([_without_content(problem, path) for problem in whole(error).problems], path) from None


def roots_environment(plan_files: Sequence[Path] = ()) -> dict[str, str]:
    """Return the variables that give a process the folders of the settings here, as far as any are set.

    Args:
        plan_files: Other plan files, which deployed runs may name in any folder.
    """
    settings = load_settings()
    plans = to_json((*settings.plan_roots, *map(str, plan_files))).decode()
    stated = {"input_root": settings.input_root, "output": settings.output, "plan_roots": plans}
    default = to_json(_DEFAULTS["plan_roots"]).decode()
    return {variable(name): value for name, value in stated.items() if value not in (_DEFAULTS[name], default)}


def operator_roots(flow_run: FlowRun) -> OperatorRoots | None:
    """Return the bounds of a run's parameters.

    Args:
        flow_run: The run that this process executes.

    Returns:
        `None` where code on this machine started the run. A flow within a deployed run is bounded as that run is.
    """
    deployed = flow_run.deployment_id is not None or FLOW_RUN_VARIABLE in os.environ
    return OperatorRoots(load_settings()) if deployed else None


def _resolved(path: str) -> Path | None:
    """Resolve a path; `None` for text that cannot be a path."""
    try:
        return Path(path).resolve()
    except (OSError, RuntimeError, ValueError):  # a NUL, a lone surrogate, links that go round in a circle
        return None


def _is_below(path: Path, root: Path | None) -> bool:
    return root is not None and (path == root or root in path.parents)


def _without_content(problem: Problem, path: str) -> Problem:
    """Return a problem of a file with its kind and its position, and nothing of the content."""
    kind = next((kind for kind in _KINDS if problem.message.startswith(kind)), "this is not as a plan has it")
    position = problem.position
    position_text = "" if position is None else f" (line {position.line}, column {position.column})"
    return Problem(f"{kind}{position_text}; 'vibe-prefect validate {path}' on the worker's machine says more")
