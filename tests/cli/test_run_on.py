"""The option `--run-on`: where all nodes of a run are to run, and those of a run that resumes it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.command import call, half

pytestmark = pytest.mark.server

PLACEMENTS = "PREFECT_INTEGRATIONS_VIBE_PREFECT_PLACEMENTS"


def test_run_on_sends_a_run_and_its_resume_to_the_placement(prefect_server: str, tmp_path: Path) -> None:
    plan, server = half(tmp_path), {"PREFECT_API_URL": prefect_server}
    refused = call("run", plan, "--run-on", "nowhere", cwd=tmp_path, extra=server)
    assert (refused.code, "unknown placement 'nowhere'" in refused.err) == (2, True), refused
    named = server | {PLACEMENTS: json.dumps({"side": {"kind": "process", "workers": 1}})}
    first = call("run", plan, "--run-on", "side", cwd=tmp_path, extra=named)
    assert (first.code, "good" in first.out) == (1, True), first
    resumed = call("resume", cwd=tmp_path, extra=server)
    assert (resumed.code, "unknown placement 'side'" in resumed.err) == (2, True), resumed
