"""Limits of a run's nodes at once by tool, tag and placement."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.executors import executor
from tests.plans import node, plan
from vibe_prefect import ExecutionStatus, ToolRegistry, WorkflowNode, tool
from vibe_prefect.errors import SettingsError
from vibe_prefect.settings.package import load_settings

pytestmark = pytest.mark.server

LIMITS = "PREFECT_INTEGRATIONS_VIBE_PREFECT_LIMITS"
BOUND = 120.0


@pytest.fixture(autouse=True)
def on_server(prefect_server: str, folder: Path) -> None:
    """Every test here has the server, and an empty folder to work in."""


class Crowd:
    """Tools that count how many of their calls are under way. Each call stays until enough were so at once."""

    def __init__(self, **enough: int) -> None:
        self.now: dict[str, int] = {}
        self.most: dict[str, int] = {}
        self._enough = enough
        self._together = {name: asyncio.Event() for name in enough}

    @property
    def registry(self) -> ToolRegistry:
        @tool(version="1")
        async def narrow() -> None:
            """Be counted."""
            await self._stay("narrow")

        @tool(version="1")
        async def wide() -> None:
            """Be counted."""
            await self._stay("wide")

        return ToolRegistry([narrow, wide])

    async def _stay(self, name: str) -> None:
        self.now[name] = self.now.get(name, 0) + 1
        self.most[name] = max(self.most.get(name, 0), self.now[name])
        if self.now[name] >= self._enough[name]:
            self._together[name].set()
        await asyncio.wait_for(self._together[name].wait(), BOUND)
        await asyncio.sleep(0.2)  # in which a call too many would begin
        self.now[name] -= 1


def calls(name: str, count: int, **policy: Any) -> list[WorkflowNode]:
    return [node(f"{name}{index}", parameters={"tool": name}, policy=policy) for index in range(count)]


@pytest.mark.parametrize(
    ("limits", "policy"), [({"tool:narrow": 2}, {}), ({"tag:few": 2, "tool:narrow": 3}, {"tags": ["few"]})]
)
async def test_limits_bound_nodes_of_a_tool_or_a_tag_and_no_others(
    limits: dict[str, int], policy: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LIMITS, json.dumps(limits))
    crowd = Crowd(narrow=2, wide=3)
    subject = executor(tool_registry=crowd.registry, concurrency=6)
    result = await subject.execute_plan(plan(*calls("narrow", 6, **policy), *calls("wide", 6)))
    assert result.status is ExecutionStatus.COMPLETED
    assert crowd.most["narrow"] == 2, "as many as may, and no more"
    assert crowd.most["wide"] >= 3, "nodes that wait for a limit hold back no other"


def test_a_limit_of_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIMITS, json.dumps({"node:a": 1}))
    with pytest.raises(SettingsError, match=LIMITS):
        load_settings()
