"""Retries as people see them: in a pipe, on a terminal, in the run's log, and from outside by `watch`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId

from tests.cli.command import call, install_tools, node, write_plan
from tests.cli.terminal import Terminal

pytestmark = pytest.mark.server

TOOL = """
import logging
from prefect.logging import get_run_logger
from vibe_prefect import ToolContext, ToolError, tool

calls = {}

@tool
async def stumble(times: int, context: ToolContext) -> str:
    \"""Fail so many times at first.\"""
    id = context["node_id"]
    calls[id] = calls.get(id, 0) + 1
    get_run_logger().info("asked in the task's log")
    logging.getLogger("stumbling").warning("asked %d", calls[id])
    if calls[id] <= times:
        raise ToolError(f"HTTP 500 from cms.example.com at call {calls[id]}")
    return "posted at last"
"""
LONG = "translate-the-announcement-for-germany"


@pytest.fixture
def tools(tmp_path: Path, prefect_server: str) -> Mapping[str, str]:
    """The environment of a command that finds the tool."""
    return install_tools(tmp_path / "site", "stumbling", TOOL, ["stumble"]) | {"PREFECT_API_URL": prefect_server}


def stumbling(id: str, times: int, delay: float, **fields: Any) -> dict[str, Any]:
    policy = {"retries": 3, "retry_delay": delay, "retry_backoff": 1, "retry_jitter": 0}
    return node(id, parameters={"tool": "stumble", "tool_inputs": {"times": times}}, policy=policy, **fields)


def retry_lines(lines: list[str]) -> list[str]:
    return [line for line in lines if "retry" in line or "] done" in line]


def log_of(run_id: str) -> list[str]:
    with get_client(sync_client=True) as client:
        body = LogFilter(flow_run_id=LogFilterFlowRunId.model_validate({"any_": [run_id]}))
        lines = client.request("POST", "/logs/filter", json={"logs": body.model_dump(mode="json")}).json()
    return [line["message"] for line in lines]


def test_retries_are_lines_in_a_pipe_and_in_the_log_and_watch_finds_them(
    tmp_path: Path, tools: Mapping[str, str]
) -> None:
    ran = call("run", write_plan(tmp_path, [stumbling("post", 2, 1.5)], "stumbling"), cwd=tmp_path, extra=tools)
    assert (ran.code, ran.err.splitlines()) == (
        0,
        [f"vibe-prefect: warning: post: asked {count}" for count in (1, 2, 3)],
    )
    told = retry_lines(ran.lines)
    assert told[0].startswith("[  0 %] retry   post (generate, stumble): 2nd try of 4, next in ")
    assert told[0].endswith(" s, last: HTTP 500 from cms.example.com at call 1")
    assert told[1].endswith(" s, last: HTTP 500 from cms.example.com at call 2")
    assert re.fullmatch(r"\[100 %\] done    post \(generate, stumble\) in [\d.]+ s at the 3rd try", told[2])
    _, name, id = next(line for line in ran.lines if line.startswith("run ")).split()
    log = log_of(id.strip("()"))
    assert "post: asked in the task's log" in log
    assert "post: Finished in state Completed()" in log
    assert any(line.startswith("post: 2nd try of 4, next in ") for line in log)
    watched = call("watch", name, cwd=tmp_path, extra=tools)
    assert retry_lines(watched.lines)[:2] == [
        f"[  0 %] retry   post (generate, stumble): {attempt} try of 4, last: HTTP 500 from cms.example.com at {call}"
        for attempt, call in (("2nd", "call 1"), ("3rd", "call 2"))
    ]


def test_terminal_counts_down_to_retries_and_keeps_the_tree_at_ctrl_c(tmp_path: Path, tools: Mapping[str, str]) -> None:
    nodes = [
        stumbling("post", 1, 1.5),
        stumbling(LONG, 1, 500, dependencies=["post"]),
        stumbling("after", 0, 1, dependencies=[LONG]),
    ]
    with Terminal(tmp_path, tools, "run", write_plan(tmp_path, nodes, "waiting"), columns=80) as terminal:
        terminal.until(r"2nd try of 4, next in \d s, last: HTTP 500 from cms")
        terminal.until(r"1 of 3 nodes(.|\n)*2nd try of 4, next in 8 min|2nd try of 4, next in 8 min(.|\n)*1 of 3 nodes")
        terminal.child.sendintr()
        assert terminal.end() == 130
    lines = terminal.lines
    header = next(index for index, line in enumerate(lines) if line.startswith("run "))
    warnings = [f"vibe-prefect: warning: {id}: asked {count}" for id, count in (("post", 1), ("post", 2), (LONG, 1))]
    assert lines[header + 1 : header + 4] == warnings
    tree = lines[header + 4 :]
    assert re.fullmatch(r"✓ post +gen.* [\d.]+ s", tree[0])
    assert re.fullmatch(rf"● {LONG} +gen.* \d+ s", tree[1])
    assert re.fullmatch(r" {6}2nd try of 4, next in 8 min \d\d s, last: HTTP 500 from cms.example.com at .*", tree[2])
    assert re.fullmatch(r"· after +gen.*", tree[3])
    assert re.fullmatch(r"vibe-prefect: interrupted; 1 of 3 nodes had finished, and what they made is kept", tree[4])
    assert tree[5:7] == ["to go on with what is left:", f"  vibe-prefect resume {lines[header].split()[1]}"]
    assert not any(tree[7:])
