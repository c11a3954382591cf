"""Standard streams that are closed, full or gone: what is being run goes on."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.cli.command import PROGRAM, TIMEOUT, check, environment, node, write_plan

CLOSED = [">&-", "2>&-", "<&-", ">&- 2>&- <&-", ">/dev/full", ">/dev/full 2>/dev/full", "1</dev/null"]


def shell(folder: Path, command: str, server: str | None = None) -> subprocess.CompletedProcess[str]:
    extra = {"PREFECT_API_URL": server} if server else {}
    return subprocess.run(
        ["sh", "-c", f'"$0" {command}', PROGRAM],
        cwd=folder,
        env=environment(folder / "home", extra),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


@pytest.mark.parametrize("streams", CLOSED)
def test_command_ends_well_without_its_streams(tmp_path: Path, streams: str) -> None:
    write_plan(tmp_path, [check("a", "one two three")])
    done = shell(tmp_path, f"validate plan.json {streams}")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("streams", [">&-", ">/dev/full", "2>&-"])
def test_exit_code_says_what_no_stream_can(tmp_path: Path, streams: str) -> None:
    done = shell(tmp_path, f"validate missing.json {streams}")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.server
@pytest.mark.parametrize("streams", [">&- 2>&- <&-", ">/dev/full 2>/dev/full"])
def test_run_goes_on_to_its_end_when_nothing_can_be_shown(tmp_path: Path, prefect_server: str, streams: str) -> None:
    hello = {"tool": "write_file", "tool_inputs": {"path": "hello.txt", "content": "Hello"}}
    write_plan(tmp_path, [check("a", "one two three"), node("b", dependencies=["a"], parameters=hello)])
    done = shell(tmp_path, f"run plan.json {streams}", prefect_server)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(list(tmp_path.glob("outputs/plan/*/hello.txt"))) == 1
