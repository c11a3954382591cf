from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.command import half, on


@pytest.mark.server
def test_a_refused_gate_is_accepted_and_the_run_resumed(tmp_path: Path, prefect_server: str) -> None:
    plan = half(tmp_path)
    ran = on(prefect_server, "run", plan, "--quiet", cwd=tmp_path)
    assert ran.code == 1
    offered = [line.strip() for line in ran.lines if line.startswith("  vibe-prefect ")]
    name = offered[0].split()[2]
    edit, accept = f"vibe-prefect resume {name} --plan half.json", f'vibe-prefect accept {name} bad --because "..."'
    assert offered == [edit, accept], "a plain resume could only fail again"

    accepted = on(prefect_server, "accept", name, "bad", "--because", "short is fine", "--by", "Ann Lee", cwd=tmp_path)
    assert (accepted.code, accepted.err) == (0, "")
    assert accepted.lines[0] == f"accepted bad of {name}"
    assert accepted.lines[-1] == f"  vibe-prefect resume {name}"
    data = on(prefect_server, "accept", name, "bad", "--because", "it is fine", "--json", cwd=tmp_path).json
    assert (data["kind"], data["run_name"], data["node_id"]) == ("acceptance", name, "bad")
    assert data["acceptance"]["because"] == "it is fine"
    resumed = on(prefect_server, "resume", name, "--quiet", cwd=tmp_path)
    assert (resumed.code, resumed.err) == (0, "")
    assert "1 refusal overridden" in resumed.out
    assert "Ann Lee accepted it on " in resumed.out
