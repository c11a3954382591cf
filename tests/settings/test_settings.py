from __future__ import annotations

import importlib
import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from prefect.blocks.core import Block
from prefect.utilities.dispatch import lookup_type

from tests.paths import ROOT
from tests.plans import node, plan
from vibe_prefect import WorkflowPlanBlock, run_plan
from vibe_prefect.engine.inputs import parameters
from vibe_prefect.settings.package import variable

PROGRAM = """
from prefect.plugins import load_prefect_collections
from prefect.utilities.dispatch import lookup_type
from prefect.blocks.core import Block

assert not isinstance(load_prefect_collections()["vibe_prefect"], Exception)
print(lookup_type(Block, "workflow-plan").__name__)

from flows.run_plan import run_plan
print(run_plan.parameters.properties["concurrency"]["default"])
"""


def test_collections_entry_point_registers_our_blocks() -> None:
    (entry,) = entry_points(group="prefect.collections", name="vibe_prefect")
    assert entry.load().WorkflowPlanBlock is WorkflowPlanBlock
    assert lookup_type(Block, "workflow-plan") is WorkflowPlanBlock


def test_wrong_settings_leave_the_form_the_packages_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as wrong:
        wrong.setenv(variable("concurrency"), "many")
        wrong.setenv(variable("output"), "elsewhere")
        defaults = importlib.reload(parameters).DEFAULTS
    importlib.reload(parameters)
    assert (defaults.concurrency, defaults.output) == (32, "outputs")


@pytest.mark.storm
def test_wrong_settings_break_no_import_and_collections_register_our_blocks(tmp_path: Path) -> None:
    """In one process of its own: what Prefect's server, worker and `prefect deploy` do first."""
    environment = {**os.environ, "PREFECT_HOME": str(tmp_path), variable("concurrency"): "many"}
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env=environment | {variable("fetch", "seconds"): "soon"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ran.returncode, ran.stdout.split()) == (0, ["WorkflowPlanBlock", "32"]), ran.stderr


@pytest.mark.server
async def test_wrong_settings_fail_the_run_that_needs_them(
    prefect_server: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable("fetch", "seconds"), "soon")
    state = await run_plan(plan(node("a")), return_state=True)
    assert state.is_failed()
    assert f"{variable('fetch', 'seconds')}: expected" in (state.message or "")
