"""Approvals and edits from the command line: at a prompt on a terminal, and by commands without one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.approvals import POST, asking
from tests.cli.command import on
from tests.cli.terminal import Terminal

pytestmark = pytest.mark.server


def write(folder: Path) -> str:
    path = folder / "asking.json"
    path.write_text(asking().model_dump_json())
    return path.name


def made(folder: Path) -> str:
    (path,) = folder.glob("outputs/asking/*/post.md")
    return path.read_text()


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo terminal")
def test_a_terminal_asks_and_takes_an_edit(tmp_path: Path, prefect_server: str) -> None:
    extra = {"PREFECT_API_URL": prefect_server, "EDITOR": "sed -i s/warm/cool/"}
    with Terminal(tmp_path, extra, "run", write(tmp_path)) as terminal:
        shown = terminal.until(r"\[a\]pprove, \[r\]eject, \[e\]dit, or answer \[l\]ater\?")
        assert "check asks about post: Is this fine?" in shown
        assert "  A warm post." in shown
        terminal.child.sendline("e")
        terminal.until("  A cool post.")
        terminal.child.sendline("a")
        terminal.until("a comment, or nothing:")
        terminal.child.sendline("cooler")
        shown = terminal.until("completed: 5 nodes in")
        assert terminal.end() == 0
        assert "a comment, or nothing:" in shown, "the view did not come back over the prompt"
        assert ", with an edited text: cooler" in terminal.text.replace("\n", " ").replace("  ", " ")
    assert made(tmp_path) == POST.replace("warm", "cool")


def test_without_a_terminal_commands_answer_and_edit(tmp_path: Path, prefect_server: str) -> None:
    ran = on(prefect_server, "run", write(tmp_path), "--quiet", cwd=tmp_path)
    assert (ran.code, ran.err) == (4, "")
    assert "· waits for an answer: 3 of 5 nodes completed in " in ran.out
    assert "  check asks about post: Is this fine?" in ran.lines
    offered = [line.strip() for line in ran.lines if line.startswith("  vibe-prefect ")]
    name = offered[0].split()[2]
    reject = f'vibe-prefect reject {name} check --because "..."'
    assert offered == [f"vibe-prefect approve {name} check", reject, f"vibe-prefect resume {name}"]

    waiting = on(prefect_server, "approvals", "--json", cwd=tmp_path).json["approvals"]
    (asks,) = [question for question in waiting if question["run_name"] == name]
    assert (asks["node_id"], asks["question"], asks["suspended"]) == ("check", "Is this fine?", False)
    assert (asks["items"]["post"]["text"], asks["approve_command"]) == (POST, offered[0])
    answered = on(prefect_server, "approve", name, "check", "--comment", "fine", "--by", "Ann Lee", cwd=tmp_path)
    assert (answered.code, answered.err) == (0, "")
    assert answered.lines[0].startswith(f"post of {name}: approved by Ann Lee at ")
    assert answered.lines[-1] == f"  vibe-prefect resume {name}"
    resumed = on(prefect_server, "resume", name, "--quiet", cwd=tmp_path)
    assert (resumed.code, resumed.err, made(tmp_path)) == (0, "", POST)
    assert "  check: post: approved by Ann Lee at " in resumed.out

    refused = on(prefect_server, "edit", name, "check", cwd=tmp_path)
    assert (refused.code, "give the edited text with --file" in refused.err) == (2, True)
    (tmp_path / "better.md").write_text("A better post.")
    edited = on(prefect_server, "edit", name, "check", "--file", "better.md", "--by", "Ann Lee", cwd=tmp_path)
    assert (edited.code, edited.err) == (0, "")
    assert edited.lines[-2:] == ["to run what depends on it (publish):", f"  vibe-prefect resume {name}"]
    data = on(prefect_server, "edit", name, "check", "--file", "better.md", "--json", cwd=tmp_path).json
    assert (data["kind"], data["edit"], data["resume_command"]) == ("edit", None, f"vibe-prefect resume {name}")
    again = on(prefect_server, "resume", name, "--quiet", cwd=tmp_path)
    assert (again.code, made(tmp_path)) == (0, "A better post.")
    assert "  check: edited by Ann Lee on " in again.out
