"""Fixtures for pytest. In a `conftest.py`: `pytest_plugins = ["vibe_prefect.testing.fixtures"]`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

import pytest

from vibe_prefect.core.models import WorkflowPlan
from vibe_prefect.results import ExecutionResult
from vibe_prefect.testing.offline import run_offline
from vibe_prefect.testing.scripted import ScriptedModel
from vibe_prefect.tools.registry import ToolRegistry

RunPlan = Callable[..., ExecutionResult]
"""Function of a plan, and of a `ToolRegistry` as `tools`; other keywords go to `run_offline` or `WorkflowExecutor`."""


@pytest.fixture
def scripted_model() -> ScriptedModel:
    """A model that answers every question with the same text; make a `ScriptedModel` of your own for others."""
    return ScriptedModel()


@pytest.fixture
def run_plan_offline(tmp_path: Path) -> RunPlan:
    """Run a plan without a server; its output files are in the test's own `tmp_path / "outputs"`."""

    def run(plan: WorkflowPlan, tools: ToolRegistry | None = None, **options: Any) -> ExecutionResult:
        options = {"input_root": tmp_path, "output": tmp_path / "outputs", **options}
        return asyncio.run(run_offline(plan, tools, **options))

    return run


@pytest.fixture(scope="session")
def plan_server_settings() -> Mapping[str, str]:
    """Environment variables for the server; a fixture of your own with this name sets others."""
    return {}


@pytest.fixture(scope="session")
def plan_server(tmp_path_factory: pytest.TempPathFactory, plan_server_settings: Mapping[str, str]) -> Generator[str]:
    """The API address of a real Prefect server, one for the session; this process talks to it, too."""
    from vibe_prefect.testing.server import used_server

    with used_server(tmp_path_factory.mktemp("plan-server"), settings=plan_server_settings) as api:
        yield api


@pytest.fixture
def run_plan_on_server(plan_server: str, tmp_path: Path) -> RunPlan:  # noqa: ARG001 - it starts the server
    """Run a plan as a Prefect flow run on a real server; records and outputs are in the test's own `tmp_path`."""

    def run(plan: WorkflowPlan, tools: ToolRegistry | None = None, **options: Any) -> ExecutionResult:
        from vibe_prefect.executor import WorkflowExecutor

        fields: dict[str, Any] = {"simulate": "never", "storage": tmp_path / "records"}
        fields |= {"input_root": tmp_path, "output": tmp_path / "outputs"}
        executor = WorkflowExecutor(tool_registry=tools, **(fields | options))
        return asyncio.run(executor.execute_plan(plan))

    return run
