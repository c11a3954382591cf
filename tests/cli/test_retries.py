"""Retries as people see them: in a pipe, on a terminal, in the run's log, and from outside by `watch`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.cli.command import call, install_tools, node, write_plan
from tests.cli.terminal import Terminal

pytestmark = pytest.mark.server

TOOL = """
from vibe_prefect import ToolError, tool

calls = []

@tool
async def stumble(times: int) -> str:
    \"""Fail so many times at first.\"""
    calls.append(times)
    if len(calls) <= times:
        raise ToolError(f"HTTP 500 from cms.example.com at call {len(calls)}")
    return "posted at last"
"""
POLICY = {"retries": 3, "retry_delay": 1.5, "retry_backoff": 1, "retry_jitter": 0}


@pytest.fixture
def tools(tmp_path: Path, prefect_server: str) -> Mapping[str, str]:
    """The environment of a command that finds the tool."""
    return install_tools(tmp_path / "site", "stumbling", TOOL, ["stumble"]) | {"PREFECT_API_URL": prefect_server}


def stumbling(folder: Path, times: int) -> str:
    parameters = {"tool": "stumble", "tool_inputs": {"times": times}}
    return write_plan(folder, [node("post", parameters=parameters, policy=POLICY)], "stumbling")


def retry_lines(lines: list[str]) -> list[str]:
    return [line for line in lines if "retry" in line or "] done" in line]


def test_retries_are_lines_in_a_pipe_and_in_the_log_and_watch_finds_them(
    tmp_path: Path, tools: Mapping[str, str]
) -> None:
    ran = call("run", stumbling(tmp_path, 2), cwd=tmp_path, extra=tools)
    assert (ran.code, ran.err) == (0, "")
    told = retry_lines(ran.lines)
    assert told[0].startswith("[  0 %] retry   post (generate, stumble): 2nd try of 4, next in ")
    assert told[0].endswith(" s, last: HTTP 500 from cms.example.com at call 1")
    assert told[1].endswith(" s, last: HTTP 500 from cms.example.com at call 2")
    assert re.fullmatch(r"\[100 %\] done    post \(generate, stumble\) in [\d.]+ s at the 3rd try", told[2])
    name = next(line for line in ran.lines if line.startswith("run ")).split()[1]
    watched = call("watch", name, cwd=tmp_path, extra=tools)
    assert retry_lines(watched.lines)[:2] == [
        f"[  0 %] retry   post (generate, stumble): {attempt} try of 4, last: HTTP 500 from cms.example.com at call {count}"
        for attempt, count in (("2nd", 1), ("3rd", 2))
    ]


def test_retry_counts_down_on_a_terminal(tmp_path: Path, tools: Mapping[str, str]) -> None:
    with Terminal(tmp_path, tools, "run", stumbling(tmp_path, 1), columns=80) as terminal:
        terminal.until(r"post .* 2nd try of 4, next in \d s, last: HTTP 500")
        terminal.until(r"post .* 2nd try of 4, last: HTTP 500|posted|completed")
        assert terminal.end() == 0
    assert "✓ completed: 1 node in" in terminal.text
