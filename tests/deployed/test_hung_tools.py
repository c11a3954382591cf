"""Tools whose threads never return: a worker's slot is free again once their run has ended."""

from __future__ import annotations

import subprocess
from pathlib import Path

import psutil
import pytest
from prefect.client.orchestration import get_client

from tests.cli.command import install_tools, node, write_plan
from tests.deployed.api import call, ended, process, trigger, until

pytestmark = [pytest.mark.server, pytest.mark.storm]

TOOLS = """
import threading
from vibe_prefect import tool

@tool(version="1")
def hangs() -> None:
    threading.Event().wait()

@tool(version="1")
def leaves_a_thread() -> str:
    threading.Thread(target=threading.Event().wait).start()
    return "left"
"""


async def assert_runs_leave_nothing(name: str, started: subprocess.Popen[bytes]) -> None:
    """Run a deployed plan twice, the second time in the place of the first."""

    async def look() -> bool | None:
        return None if psutil.Process(started.pid).children(recursive=True) != before else True

    before = psutil.Process(started.pid).children(recursive=True)
    async with get_client() as client:
        for _ in range(2):
            assert (await ended(client, await trigger(client, name))).state_name == "Failed"
    await until(look, "the end of the runs' processes")


@pytest.mark.parametrize("way", ["worker", "serve"])
async def test_hung_tools_keep_neither_process_nor_slot(way: str, prefect_server: str, tmp_path: Path) -> None:
    tools = install_tools(tmp_path / "site", "hanging", TOOLS, ["hangs", "leaves_a_thread"])
    nodes = [
        node(tool, parameters={"tool": tool, "tool_inputs": {}}, policy={"timeout": 1})
        for tool in ("hangs", "leaves_a_thread")
    ]
    name = f"hung-{way}"
    write_plan(tmp_path, nodes, name)
    file = f"{name}.json"
    if way == "worker":
        deployed = call(tmp_path, prefect_server, "deploy", file, "--pool", name, **tools)
        assert deployed.returncode == 0, deployed.stderr
        command, ready = ("worker", "start", "--pool", name, "--limit", "1"), "started!"
    else:
        command, ready = ("serve", file), "serving;"
    with process(tmp_path, prefect_server, *command, ready=ready, **tools) as started:
        await assert_runs_leave_nothing(name, started)
