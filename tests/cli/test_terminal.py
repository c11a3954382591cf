"""The command line on a real terminal."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pexpect
import pytest

from tests.cli import terminal
from tests.cli.command import TRAILER, check, node, write_plan

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo terminal"),
]
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def spawn(folder: Path, server: str, *arguments: str, rows: int = 40, columns: int = 100) -> pexpect.spawn[str]:
    return terminal.spawn(folder, {"PREFECT_API_URL": server}, *arguments, rows=rows, columns=columns)


def finish(child: pexpect.spawn[str]) -> str:
    child.expect(pexpect.EOF)
    child.close()
    return ESCAPES.sub("", str(child.before))


def test_the_live_tree_appears_and_stays(tmp_path: Path, prefect_server: str) -> None:
    child = spawn(tmp_path, prefect_server, "run", TRAILER, "--simulate", "--record")
    child.expect("importing Prefect")
    child.expect(r"\d of 17 nodes  .*\d running")
    text = finish(child)
    assert child.exitstatus == 0
    final = text[text.rindex("✓ concept") :]
    assert re.search(r"✓ └─ beat-check +validate +completed, simulated", final)
    assert re.search(r"✓    ├─ frame-1 +generate +completed, simulated", final)
    assert "✓ simulated run completed: 17 nodes in" in final


def test_failures_are_shown_with_their_error(tmp_path: Path, prefect_server: str) -> None:
    plan = write_plan(tmp_path, [check("bad", "x", children=[check("below", "a b c")])])
    child = spawn(tmp_path, prefect_server, "run", plan)
    text = finish(child)
    assert child.exitstatus == 1
    assert re.search(r"✗ bad +validate, check_text +failed +\d\.\d\d s +0\.00", text)
    assert re.search(r"- └─ below +validate, check_text +skipped", text)
    final = text[text.rindex("✗ failed: 1 of 2 nodes failed, 1 skipped") :]
    assert "  the text in its inputs was refused by 'bad': " in final


def test_a_plan_that_does_not_fit_is_counted(tmp_path: Path, prefect_server: str) -> None:
    plan = write_plan(tmp_path, [node(f"item-{index:03}") for index in range(200)], "wide")
    child = spawn(tmp_path, prefect_server, "run", plan, "--simulate", "--record", rows=24, columns=80)
    child.expect(r"and [^\r\n]*\d+ waiting")
    text = finish(child)
    assert child.exitstatus == 0
    assert "✓ simulated run completed: 200 nodes" in text


def long_plan(folder: Path) -> str:
    """A plan that does not end before a signal comes."""
    chain = [node(f"n{index}", dependencies=[f"n{index - 1}"] if index else []) for index in range(200)]
    return write_plan(folder, chain, "long")


def test_ctrl_c_stops_with_130_and_a_clean_message(tmp_path: Path, prefect_server: str) -> None:
    child = spawn(tmp_path, prefect_server, "run", long_plan(tmp_path), "--simulate", "--record")
    child.expect(r"[1-9]\d* of 200 nodes")
    child.sendintr()
    text = finish(child)
    assert (child.exitstatus, child.signalstatus) == (130, None)
    assert re.search(r"vibe-prefect: interrupted; \d+ of 200 nodes had finished, and what they made is kept", text)
    assert "Traceback" not in text


def test_ctrl_c_before_the_run_is_clean_too(tmp_path: Path, prefect_server: str) -> None:
    child = spawn(tmp_path, prefect_server, "run", long_plan(tmp_path), "--simulate", "--record")
    child.expect("importing Prefect")
    child.sendintr()
    text = finish(child)
    assert child.exitstatus == 130, text
    assert "vibe-prefect: interrupted" in text
    assert "Traceback" not in text


def test_show_fits_the_terminal(tmp_path: Path, prefect_server: str) -> None:
    long = [node("a" * 60), node("b" * 60, dependencies=["a" * 60])]
    child = spawn(tmp_path, prefect_server, "show", write_plan(tmp_path, long), columns=80)
    text = finish(child)
    assert child.exitstatus == 0
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "…" in text
