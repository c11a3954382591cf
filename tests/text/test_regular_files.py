"""Files that a plan names: regular ones are read, and nothing else, without waiting for it."""

from __future__ import annotations

import os
import socket
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.plans import node, plan
from vibe_prefect import ExecutionStatus
from vibe_prefect.llm.all_tools import equipped_registry
from vibe_prefect.testing import run_offline
from vibe_prefect.text.regular_files import read_regular
from vibe_prefect.tools.builtin.media_tools import MediaConfig
from vibe_prefect.tools.comfyui.endpoint import ComfyServer

CANARY = "canary-8812"


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[dict[str, str]]:
    """Paths that are no regular files, by what they are."""
    monkeypatch.setenv("CANARY", CANARY)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        yield {
            "pipe": str(tmp_path / "pipe"),
            "device": "/dev/zero",
            "link to a device": str(tmp_path / "zero"),
            "socket": str(tmp_path / "socket"),
            "folder": str(tmp_path),
            "environment": "/proc/self/environ",
            "its own descriptor": "/proc/self/fd/0",
            "system": "/sys/kernel/notes",
        }


KINDS = ["pipe", "device", "link to a device", "socket", "folder", "environment", "its own descriptor", "system"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_regular_file_is_refused(odd: dict[str, str], kind: str) -> None:
    with pytest.raises(OSError, match=r"it is not a regular file|it is a folder|No such file"):
        read_regular(Path(odd[kind]), 10)


def test_a_file_is_read_up_to_one_byte_more_than_the_limit(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    assert read_regular(tmp_path / "a", 10) == b"0123456789"
    assert read_regular(tmp_path / "a", 4) == b"01234"


CALLS = {
    "read_text": "path",
    "template_fill": "template_file",
    "image_card": "font",
    "comfyui_run": "workflow_file",
}


@pytest.mark.parametrize("tool", CALLS)
@pytest.mark.parametrize("kind", KINDS)
async def test_no_tool_reads_what_is_no_regular_file(odd: dict[str, str], tmp_path: Path, tool: str, kind: str) -> None:
    """The whole system is the input folder: whoever runs it so wants files, and not the environment."""
    if (tool, kind) == ("read_text", "folder"):
        pytest.skip("a folder stands for the files in it")
    tools = equipped_registry(media=MediaConfig(comfyui=ComfyServer("http://127.0.0.1:1")))
    inputs: dict[str, Any] = {CALLS[tool]: odd[kind]} | ({"title": "x"} if tool == "image_card" else {})
    call = node("a", parameters={"tool": tool, "tool_inputs": inputs}, policy={"retries": 0})
    result = await run_offline(plan(call), tools, input_root="/", output=tmp_path / "out")
    assert result.node_results["a"].status is ExecutionStatus.FAILED
    assert CANARY not in str(result)
