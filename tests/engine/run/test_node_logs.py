"""Log lines name their node."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tests.plans import node
from vibe_prefect import NodeContext, ToolRegistry, Vibe, Workspace
from vibe_prefect.engine.run.node_logs import NodeFormatter
from vibe_prefect.run.handlers import as_current
from vibe_prefect.tools.base import ToolResult


async def never(name: str, inputs: object) -> ToolResult:
    raise AssertionError(name)


def context(id: str) -> NodeContext:
    folders = Workspace(Path(), Path())
    return NodeContext("plan", node(id), Vibe(description="a test"), {}, folders, ToolRegistry(), False, never)


def line(task_run: str | None, *, shows_task_run: bool) -> str:
    record = logging.LogRecord("a", logging.INFO, __file__, 1, "asked %s", ("twice",), None)
    if task_run is not None:
        record.task_run_name = task_run
    return NodeFormatter(logging.Formatter("%(message)s"), shows_task_run=shows_task_run).format(record)


@pytest.mark.parametrize(
    ("at_work", "task_run", "api", "console"),
    [
        (None, None, "asked twice", "asked twice"),
        (None, "post", "post: asked twice", "asked twice"),
        ("post", None, "post: asked twice", "post: asked twice"),
        ("post", "post", "post: asked twice", "asked twice"),
        ("post", "http_get", "post: asked twice", "post: asked twice"),
    ],
)
def test_log_lines_name_the_node_at_work_once(
    at_work: str | None, task_run: str | None, api: str, console: str
) -> None:
    if at_work is None:
        assert (line(task_run, shows_task_run=False), line(task_run, shows_task_run=True)) == (api, console)
        return
    with as_current(context(at_work)):
        assert (line(task_run, shows_task_run=False), line(task_run, shows_task_run=True)) == (api, console)
