"""Writing a plan that a model or a rule has made to a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from vibe_prefect.core.models import WorkflowPlan
from vibe_prefect.errors import UsageError
from vibe_prefect.plan.plan_yaml import plan_json, plan_yaml
from vibe_prefect.tools.workspace import replace_file


def check_free(path: Path, *, force: bool, hint: str = "") -> None:
    """Refuse to write a plan where a file is already, or where there is no folder.

    Args:
        path: The file.
        force: Whether to write over a file that is there.
        hint: What else helps where one is there.

    Raises:
        UsageError: It is refused.
    """
    if path.exists() and not force:
        raise UsageError(f"{path} is there already; --force writes over it{hint}")
    if not path.resolve().parent.is_dir():
        raise UsageError(f"{path.parent} is not a folder; make it first")


def write_plan(path: Path, plan: WorkflowPlan, reasons: Mapping[str, str], heading: str = "") -> None:
    """Write a plan to a file: JSON where its name ends with `.json`, otherwise YAML.

    Args:
        path: The file; one that is there is replaced, so look first with `check_free`.
        plan: The plan.
        reasons: Comments above nodes, by their ids; JSON has none.
        heading: Comment at the top; JSON has none.

    Raises:
        UsageError: The file cannot be written.
    """
    text = plan_json(plan) if path.suffix == ".json" else plan_yaml(plan, reasons, heading)
    try:
        replace_file(path, text.encode())
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from None
