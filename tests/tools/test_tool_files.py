"""Files of tools: what they define, their versions, and what is wrong with one, by its line."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from vibe_prefect import ToolDefinitionError, WorkflowNode, WorkflowPlan, compile_plan
from vibe_prefect.engine.inputs.configured_tools import configured_registry
from vibe_prefect.testing import run_offline
from vibe_prefect.tools.base import tool_version
from vibe_prefect.tools.installed import default_registry
from vibe_prefect.tools.registry import TOOLS_VARIABLE, ToolRegistry
from vibe_prefect.tools.tool_files import add_tool_files

HEAD = "from vibe_prefect import tool\n\n"
SHOUT = f'''{HEAD}MARK = "!"

@tool
def shout(text: str) -> dict[str, str]:
    """Say it loudly."""
    return {{"text": text.upper() + MARK}}
'''


def loaded(*files: str) -> ToolRegistry:
    registry = default_registry()
    add_tool_files(registry, files)
    return registry


def plan() -> WorkflowPlan:
    parameters = {"tool": "shout", "tool_inputs": {"text": "hello"}}
    node = WorkflowNode.model_validate(
        {"id": "say", "type": "transform", "description": "Say", "parameters": parameters}
    )
    return WorkflowPlan.model_validate({"id": "p", "source_vibe": {"description": "x"}, "root_nodes": [node]})


async def test_tools_of_a_file_run_nodes_and_their_source_enters_the_keys(folder: Path) -> None:
    (folder / "tools.py").write_text(SHOUT)
    first = loaded("tools.py")
    assert first.file_of("shout") == folder.resolve() / "tools.py"
    assert first.file_of("write_file") is None
    run = await run_offline(plan(), tools=first)
    assert run.node_results["say"].result["result"] == {"text": "HELLO!"}
    key = compile_plan(plan(), tools=first).nodes["say"].key
    assert compile_plan(plan(), tools=loaded("tools.py")).nodes["say"].key == key
    (folder / "tools.py").write_text(f"{SHOUT}\nAPART = 1\n")
    assert compile_plan(plan(), tools=loaded("tools.py")).nodes["say"].key == key
    (folder / "tools.py").write_text(SHOUT.replace('"!"', '"?"'))
    edited = loaded("tools.py")
    assert (await run_offline(plan(), tools=edited)).node_results["say"].result["result"] == {"text": "HELLO?"}
    assert compile_plan(plan(), tools=edited).nodes["say"].key != key


def test_a_stated_version_and_a_module_beside_the_file_count(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    (folder / "beside_it.py").write_text("WORD = 'x'\n")
    (folder / "tools.py").write_text(
        "import beside_it\nfrom vibe_prefect import tool\n\n"
        "@tool(version='7')\ndef word() -> str:\n    return beside_it.WORD\n"
    )
    tool = loaded("tools.py", "./tools.py").get("word")
    assert tool is not None
    assert tool_version(tool) == "7"


def test_the_setting_names_files_for_every_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "tools.py").write_text(SHOUT)
    (folder / "more.py").write_text(SHOUT.replace("shout", "cry"))
    monkeypatch.setenv(TOOLS_VARIABLE, os.pathsep.join(["tools.py", str(folder / "more.py")]))
    assert {"cry", "shout"} <= set(configured_registry())


def test_what_a_file_prints_is_no_output_of_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "tools.py").write_text(f"print('hello')\n{SHOUT}")
    loaded("tools.py")
    assert tuple(capsys.readouterr()) == ("", "hello\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "x = 1\n",
            "tools.py defines no tool: put @tool, from vibe_prefect, above a function with typed arguments",
        ),
        ("x = 1\ny = (\n", "tools.py:2: SyntaxError: '(' was never closed"),
        ("\nimport nothing_here\n", "tools.py:2: ModuleNotFoundError: No module named 'nothing_here'"),
        ("raise SystemExit(3)\n", "tools.py:1: SystemExit: 3"),
        ("import broken_beside\n", "tools.py:1: SyntaxError: invalid syntax (broken_beside.py, line 1)"),
        (
            f"{HEAD}@tool\ndef f(a):\n    return a\n",
            "tools.py:3: tool 'f': argument 'a' needs a type annotation",
        ),
        (
            f"{HEAD}@tool(name='write_file')\ndef f() -> str:\n    return ''\n",
            (
                "tools.py:3: the tool 'write_file' is there already, defined in the module vibe_prefect.tools.files; "
                "give one of them another name"
            ),
        ),
        (
            f"{HEAD}@tool\ndef a() -> str:\n    return ''\n\n@tool(name='a')\ndef b() -> str:\n    return ''\n",
            "tools.py:7: the tool 'a' is there already, defined in tools.py:3; give one of them another name",
        ),
        (None, "the file of tools 'tools.py' cannot be read: No such file or directory"),
    ],
)
def test_a_bad_file_is_refused_with_its_line(
    content: str | None, message: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    (folder / "broken_beside.py").write_text("a b\n")
    if content is not None:
        (folder / "tools.py").write_text(content)
    with pytest.raises(ToolDefinitionError) as caught:
        loaded("tools.py")
    assert str(caught.value) == message


def test_a_pipe_or_a_huge_file_is_no_file_of_tools(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with (folder / "huge.py").open("wb") as huge:
        huge.truncate(5_000_001)
    for name, reason in (("pipe", "it is not a regular file"), ("huge.py", "more than 5,000,000 bytes")):
        with pytest.raises(ToolDefinitionError, match=reason):
            loaded(name)
