"""`vibe-prefect server start`: who may ask the server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import pytest

from vibe_prefect.cli.deploying import start_server as server
from vibe_prefect.cli.process.loopback import bypass_proxies
from vibe_prefect.engine.server.process import own_origins
from vibe_prefect.testing import free_port

EVERYWHERE = "0.0.0.0"  # noqa: S104 - nothing listens there
ORIGINS = "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS"
OWN = [
    ("127.0.0.1", "http://127.0.0.1:4200,http://localhost:4200"),
    (EVERYWHERE, "http://127.0.0.1:4200,http://localhost:4200"),
    ("::1", "http://127.0.0.1:4200,http://localhost:4200,http://[::1]:4200"),
    ("prefect.example", "http://127.0.0.1:4200,http://localhost:4200,http://prefect.example:4200"),
]


@pytest.mark.parametrize(("host", "origins"), OWN)
def test_server_allows_the_origins_of_its_own_pages(host: str, origins: str) -> None:
    assert ",".join(own_origins(host, 4200)) == origins


class Begun(Exception):  # noqa: N818 - not an error
    """The server's program would run now."""


@pytest.fixture
def environments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, str]]:
    """The environments in which servers would have begun."""
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    found: list[dict[str, str]] = []

    def execute(program: str, command: list[str], environment: dict[str, str]) -> NoReturn:
        found.append(environment)
        raise Begun

    monkeypatch.setattr(os, "execve", execute)
    return found


@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", False), ("localhost", False), (EVERYWHERE, True)])
def test_server_that_others_can_reach_says_that_they_can_start_runs(
    host: str, warned: bool, environments: list[dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    with pytest.raises(Begun):
        server.start(host, port)
    said = capsys.readouterr()
    assert ("whoever can reach it sees all runs and can start new ones" in said.err) is warned
    assert f"http://localhost:{port}" in environments[0][ORIGINS]
    assert ORIGINS in said.out


@pytest.mark.parametrize("name", [ORIGINS, "PREFECT_SERVER_CORS_ALLOWED_ORIGINS"])
def test_server_keeps_the_origins_that_the_environment_sets(
    name: str, environments: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "https://ui.example")
    with pytest.raises(Begun):
        server.start("127.0.0.1", free_port())
    assert [value for key, value in environments[0].items() if "CORS" in key] == ["https://ui.example"]


EXEMPT: list[tuple[dict[str, str], str]] = [
    ({}, "127.0.0.1,localhost"),
    ({"no_proxy": "a.example"}, "a.example,127.0.0.1,localhost"),
    ({"NO_PROXY": "a.example, localhost", "no_proxy": "b.example"}, "b.example,a.example,localhost,127.0.0.1"),
]


@pytest.mark.parametrize(("before", "expected"), EXEMPT)
def test_this_machine_is_exempt_from_proxies(
    before: dict[str, str],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        if name in before:
            monkeypatch.setenv(name, before[name])
    bypass_proxies()
    try:
        for name in ("no_proxy", "NO_PROXY"):
            assert sorted(os.environ[name].split(",")) == sorted(expected.split(","))
    finally:
        for name in ("no_proxy", "NO_PROXY"):
            os.environ.pop(name)


def test_everything_exempt_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("NO_PROXY", raising=False)
    bypass_proxies()
    assert (os.environ["no_proxy"], os.environ.get("NO_PROXY")) == ("*", None)
