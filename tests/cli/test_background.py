"""The server in the background: found again, shared, replaced when killed, ended when nobody uses it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.command import PROGRAM, TIMEOUT, call, environment, node, write_plan
from vibe_prefect.cli.deploying.start_server import start, stop
from vibe_prefect.cli.exits import StartError
from vibe_prefect.cli.process.background import BackgroundServer, ServerInUseError
from vibe_prefect.cli.process.environment import server_minutes
from vibe_prefect.cli.process.settings_files import SERVER_MINUTES_VARIABLE
from vibe_prefect.core.file_locks import locked, open_lock, try_lock
from vibe_prefect.engine.server.record import (
    CLIENTS,
    RECORD,
    ServerRecord,
    is_running,
    is_used,
    read_record,
    running_server_of,
    write_record,
)
from vibe_prefect.errors import UsageError

PATIENCE = 120.0
GOES_ON = {"PREFECT_INTEGRATIONS_VIBE_PREFECT_SERVER_MINUTES": "30"}
SERVER = re.compile(
    r"^server   (http://127\.0\.0\.1:\d+)  \(in the background, ends 30 min after its last use\)$", re.M
)


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@pytest.mark.server
@pytest.mark.slow
def test_commands_share_a_server_that_goes_on_until_it_is_stopped(tmp_path: Path) -> None:
    home = tmp_path / "prefect-home"
    plan = write_plan(tmp_path, [node("a", "composite"), node("b", "composite", dependencies=["a"])])
    both = [
        subprocess.Popen(
            [PROGRAM, "run", plan], cwd=tmp_path, env=environment(home, GOES_ON), stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    texts = [run.communicate(timeout=TIMEOUT)[0] for run in both]
    assert [run.returncode for run in both] == [0, 0], texts
    addresses = {address for text in texts for address in SERVER.findall(text)}
    assert len(addresses) == 1
    assert f"  {addresses.pop()}/v2/runs/flow-run/" in texts[0]
    listed = call("runs", "--json", cwd=tmp_path, extra=GOES_ON)
    assert [run["state"] for run in listed.json["runs"]] == ["Completed", "Completed"]
    assert listed.err == ""
    record = running_server_of(home)
    assert record is not None
    os.kill(record.pid, signal.SIGKILL)
    wait_until(lambda: not is_running(home))
    assert call("server", "status", cwd=tmp_path).code == 1
    after = call("run", plan, cwd=tmp_path, extra=GOES_ON)
    assert (after.code, after.err) == (0, "")
    assert "starting a Prefect server" in after.out
    assert "ends 30 min after its last use; Prefect" in call("server", "status", cwd=tmp_path).out
    assert call("server", "stop", cwd=tmp_path).out.startswith("stopped the Prefect server at ")
    assert not is_running(home)


@pytest.mark.server
@pytest.mark.slow
def test_server_ends_when_nobody_uses_it_and_another_version_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    first = BackgroundServer(tmp_path, 1000.0)
    first.wait_ready()
    monkeypatch.setenv("PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT", "false")
    with pytest.raises(ServerInUseError):
        BackgroundServer(tmp_path, 0.5)
    other = BackgroundServer(tmp_path, 0.5, choosy=False)
    assert other.record == first.record
    other.leave()
    for refused, error in ((lambda: stop(force=False), UsageError), (lambda: start("127.0.0.1", 4200), StartError)):
        with pytest.raises(error, match="a command uses the Prefect server at"):
            refused()
    first.leave()
    wait_until(lambda: not is_used(tmp_path))
    second = BackgroundServer(tmp_path, 0.5)
    assert second.record.pid != first.record.pid
    assert first.ended == "has ended"
    second.wait_ready()
    assert second.ended is None
    second.leave()
    wait_until(lambda: not is_running(tmp_path))
    assert (tmp_path / RECORD).read_bytes() == b""


@pytest.fixture
def record() -> ServerRecord:
    return ServerRecord("http://127.0.0.1:9", os.getpid(), "3.8.0", "abc", 600.0, 0.0)


def test_record_counts_only_as_long_as_its_server_lives(tmp_path: Path, record: ServerRecord) -> None:
    assert (running_server_of(tmp_path), list(tmp_path.iterdir())) == (None, [])
    server = open_lock(tmp_path / RECORD)
    assert try_lock(server)
    write_record(server, record)
    assert running_server_of(tmp_path) == record
    os.close(server)
    assert read_record(tmp_path) == record
    assert running_server_of(tmp_path) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"url": "x"}', '{"url": 1, "more": 2}'])
def test_incomplete_record_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / RECORD).write_text(content)
    assert read_record(tmp_path) is None


def test_server_is_used_as_long_as_a_client_holds_its_lock(tmp_path: Path) -> None:
    assert not is_used(tmp_path)
    with locked(tmp_path / CLIENTS, shared=True) as first, locked(tmp_path / CLIENTS, shared=True) as second:
        assert (first, second, is_used(tmp_path)) == (True, True, True)
    assert not is_used(tmp_path)


@pytest.mark.parametrize("minutes", ["ten", "-1", "nan", "1e9"])
def test_minutes_of_the_server_that_are_none_are_refused(minutes: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SERVER_MINUTES_VARIABLE, minutes)
    with pytest.raises(UsageError, match=f"SERVER_MINUTES: expected minutes, 0 or more, found '{minutes}'"):
        server_minutes()
