"""Prefect's embedded server: what it must not inherit, several at once, and one that is killed."""

from __future__ import annotations

import re
import signal
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from tests.cli.command import CONTROL, FEATURE, MIXED, PROGRAM, call, environment, node, write_plan

pytestmark = [pytest.mark.server, pytest.mark.slow]

OF_OTHER_SERVERS = {
    "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
    "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "false",
    "PREFECT_SERVER_API_DEFAULT_LIMIT": "5",
    "PREFECT_MESSAGING_BROKER": "prefect_redis.messaging",
    "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING": "prefect_redis.ordering",
    "PREFECT_SERVER_DOCKET_URL": "redis://127.0.0.1:9/0",
    "PREFECT_API_SERVICES_TASK_RUN_RECORDER_ENABLED": "false",
}
PROXIES = {"http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9", "no_proxy": "example.org"}
SOCKS = {"ALL_PROXY": "socks5h://127.0.0.1:9", "https_proxy": "socks5://127.0.0.1:9"}


def test_embedded_server_inherits_nothing_from_environment_profile_or_file_and_is_quiet(tmp_path: Path) -> None:
    extra = OF_OTHER_SERVERS | PROXIES | SOCKS
    (tmp_path / "prefect-home").mkdir()
    (tmp_path / "prefect-home" / "profiles.toml").write_text(
        'active = "mine"\n[profiles.mine]\nPREFECT_SERVER_API_AUTH_STRING = "a:b"\n'
        'PREFECT_SERVER_EPHEMERAL_ENABLED = "true"\n'
    )
    (tmp_path / "prefect.toml").write_text('[server.api]\nbase_path = "/prefect/api"\n')
    outcome = call("run", MIXED, "--simulate", "--record", cwd=tmp_path, extra=extra)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.lines[3].startswith("starting a Prefect server")
    assert re.fullmatch(r"server   http://127.0.0.1:\d+  \(ends with this command\)", outcome.lines[4])
    assert "run `vibe-prefect server start`, then open" in outcome.lines[-2]
    assert outcome.lines[-1].startswith("  http://127.0.0.1:4200/v2/runs/flow-run/")
    assert not CONTROL.search(outcome.out)
    assert task_run_states(tmp_path) == [("COMPLETED", 55)]


@pytest.mark.storm
def test_a_thousand_task_runs_are_on_record_when_the_command_has_ended(tmp_path: Path) -> None:
    plan = write_plan(tmp_path, [node(f"n{index}", "composite") for index in range(1000)])
    outcome = call("run", plan, "--json", cwd=tmp_path)
    assert outcome.code == 0
    assert outcome.json["task_runs"] == {"expected": 1000, "recorded": 1000}
    assert task_run_states(tmp_path) == [("COMPLETED", 1000)]


def task_run_states(folder: Path) -> list[tuple[str, int]]:
    """How many nodes are in which state in the embedded server's database."""
    with closing(sqlite3.connect(folder / "prefect-home" / "prefect.db")) as database:
        states = "select state_type, count(distinct name) from task_run group by state_type"
        return database.execute(states).fetchall()


@pytest.mark.parametrize("name", ["PREFECT_SERVER_ALLOW_EPHEMERAL_MODE", "PREFECT_SERVER_EPHEMERAL_ENABLED"])
def test_embedded_server_can_be_switched_off_by_the_environment(tmp_path: Path, name: str) -> None:
    refused = call("run", FEATURE, "--simulate", "--record", "--quiet", cwd=tmp_path, extra={name: "false"})
    assert refused.code == 3
    assert "the embedded one is switched off: set PREFECT_API_URL" in refused.err


@pytest.mark.storm
def test_first_starts_at_once_all_work(tmp_path: Path) -> None:
    env = environment(tmp_path / "home")
    runs = [
        subprocess.Popen(
            [PROGRAM, "run", FEATURE, "--simulate", "--record", "--quiet"],
            cwd=tmp_path,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    ended = [run.communicate(timeout=240) for run in runs]
    assert [(run.returncode, err) for run, (_, err) in zip(runs, ended, strict=True)] == [(0, "")] * 3


def test_killed_embedded_server_is_told_with_what_is_kept(tmp_path: Path) -> None:
    chain = [node(f"n{index}", dependencies=[f"n{index - 1}"] if index else []) for index in range(500)]
    run = subprocess.Popen(
        [PROGRAM, "run", write_plan(tmp_path, chain, "long"), "--simulate", "--record"],
        cwd=tmp_path,
        env=environment(tmp_path / "home"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert run.stdout is not None
    for line in run.stdout:
        if "done    n1 " in line:
            break
    children = psutil.Process(run.pid).children()
    server = next(child for child in children if "vibe_prefect.engine.server.program" in " ".join(child.cmdline()))
    server.send_signal(signal.SIGKILL)
    out, err = run.communicate(timeout=240)
    assert run.returncode == 3
    said = re.search(r"the Prefect server was killed by signal 9, so the run was stopped; (\d+) of 500 nodes had", err)
    assert said is not None, err
    assert int(said[1]) >= 2
    assert re.search(r"to go on with what is left:\n  vibe-prefect resume long-\S+\n", out)
    assert "Traceback" not in err
    assert "Error logging" not in err
