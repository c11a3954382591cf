"""The stack for containers, checked without an engine, and its database where there is one on this machine."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

import pytest
from ruamel.yaml import YAML

from tests.cli.command import install_tools, node, write_plan
from tests.deployed.api import BOUND, call
from tests.paths import ROOT
from tests.programs import report_missing
from vibe_prefect.cli.deploying.start_worker import RUN_GRACE, WORKER_GRACE
from vibe_prefect.engine.server.settings import SERVER_SETTINGS
from vibe_prefect.settings.placements import PlacementSettings
from vibe_prefect.testing import free_port, running_server

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
USER = "postgres"


@pytest.fixture(scope="module")
def stack() -> dict[str, Any]:
    return cast("Any", YAML(typ="safe")).load((ROOT / "docker-compose.yml").read_text())


def test_the_server_has_the_settings_that_keep_it_healthy(stack: dict[str, Any]) -> None:
    environment = stack["services"]["server"]["environment"]
    assert {name: environment[name] for name in SERVER_SETTINGS} == SERVER_SETTINGS
    assert environment["PREFECT_API_DATABASE_CONNECTION_URL"].startswith("postgresql+asyncpg://prefect:")


def test_the_worker_has_time_to_end_its_runs(stack: dict[str, Any]) -> None:
    assert int(stack["services"]["worker"]["stop_grace_period"].removesuffix("s")) > RUN_GRACE + WORKER_GRACE
    assert stack["services"]["worker"]["environment"]["PREFECT_API_URL"] == "http://server:4200/api"


def test_the_second_worker_is_a_placement_of_the_first(stack: dict[str, Any]) -> None:
    worker, farm = (stack["services"][name] for name in ("worker", "farm"))
    (placement,) = json.loads(worker["environment"]["PREFECT_INTEGRATIONS_VIBE_PREFECT_PLACEMENTS"]).values()
    settings = PlacementSettings.model_validate(placement)
    yaml: Any = YAML(typ="safe")
    project = yaml.load((ROOT / "prefect.yaml").read_text())
    pools = {f"run-plan/{one['name']}": one["work_pool"]["name"] for one in project["deployments"]}
    assert farm["command"][-2:] == ["--pool", pools[settings.deployment or ""]]
    assert settings.shares_files
    assert farm["volumes"] == worker["volumes"]


def test_every_service_waits_for_a_healthy_one(stack: dict[str, Any]) -> None:
    services = stack["services"]
    for service in services.values():
        for needed, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}
            assert "healthcheck" in services[needed]
    used = {mount.split(":")[0] for service in services.values() for mount in service.get("volumes", [])}
    assert used == set(stack["volumes"])


def test_the_image_copies_what_there_is() -> None:
    text = (ROOT / "Dockerfile").read_text()
    for line in re.findall(r"^COPY (.+)$", text, re.MULTILINE):
        for name in line.split()[:-1]:
            assert (ROOT / name).exists(), name


def test_compose_accepts_the_file() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("there is no docker with compose")
    checked = subprocess.run(
        [docker, "compose", "config", "--quiet"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


def postgres(command: str, *arguments: str) -> None:
    program = [str(BINARIES[-1] / command), *arguments]
    as_user = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"] if os.geteuid() == 0 else []
    subprocess.run([*as_user, *program], check=True, capture_output=True, cwd="/tmp")  # noqa: S108


@pytest.fixture
def database(tmp_path: Path) -> Generator[str]:
    """The address of a PostgreSQL server of its own."""
    if not BINARIES:
        report_missing("PostgreSQL", "make services")
    folder = Path("/tmp") / f"vibe-prefect-pg-{os.getpid()}"  # noqa: S108 - short enough for a socket, and not root's
    folder.mkdir()
    if os.geteuid() == 0:
        shutil.chown(folder, USER, USER)
    data, port = str(folder / "data"), free_port()
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1"
    try:
        postgres("initdb", "--pgdata", data, "--username", "prefect", "--auth", "trust")
        postgres("pg_ctl", "start", "--wait", "--pgdata", data, "--options", options, "--log", str(folder / "log"))
        try:
            yield f"postgresql+asyncpg://prefect@127.0.0.1:{port}/postgres"
        finally:
            postgres("pg_ctl", "stop", "--wait", "--mode", "immediate", "--pgdata", data)
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def redis(tmp_path: Path) -> Generator[int]:
    """The port of a Redis server of its own."""
    program = shutil.which("redis-server")
    if program is None:
        report_missing("Redis", "make services")
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    server = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL)
    try:
        yield port
    finally:
        server.terminate()
        server.wait(BOUND)


def keys(port: int) -> list[str]:
    """What a Redis server holds."""
    command = ["redis-cli", "-p", str(port), "keys", "*"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=BOUND).stdout.split()


FAILS = """
from vibe_prefect import tool

@tool(version="1")
def fail(text: str) -> None:
    raise RuntimeError(text.encode().decode("unicode_escape"))
"""


@pytest.mark.server
@pytest.mark.slow
def test_plans_run_on_postgresql_and_redis_with_the_settings_of_the_stack(
    stack: dict[str, Any], database: str, redis: int, tmp_path: Path
) -> None:
    settings = stack["services"]["server"]["environment"] | {
        "PREFECT_API_DATABASE_CONNECTION_URL": database,
        "PREFECT_REDIS_MESSAGING_HOST": "127.0.0.1",
        "PREFECT_REDIS_MESSAGING_PORT": str(redis),
    }
    with running_server(tmp_path / "server", settings=settings) as api:
        run_the_demo(tmp_path, api)
        assert_error_with_a_nul_fails_its_node_alone(tmp_path, api)
    assert "events" in keys(redis), "the events went through Redis"


def run_the_demo(folder: Path, api: str) -> None:
    (folder / "CHANGELOG.md").write_text((ROOT / "CHANGELOG.md").read_text())
    ran = call(folder, api, "run", str(ROOT / "flows/plans/release_digest.yaml"), "--quiet")
    assert ran.returncode == 0, ran.stderr
    listed = call(folder, api, "runs")
    assert "release-digest-" in listed.stdout


def assert_error_with_a_nul_fails_its_node_alone(folder: Path, api: str) -> None:
    """PostgreSQL stores no text with a NUL."""
    tools = install_tools(folder / "site", "failing", FAILS, ["fail"])
    bad = {"tool": "fail", "tool_inputs": {"text": "a\\x00b"}}
    good = {"tool": "write_file", "tool_inputs": {"path": "a.txt", "content": "x"}}
    plan = write_plan(folder, [node("bad", parameters=bad), node("good", parameters=good)], "nul")
    ran = call(folder, api, "run", plan, "--json", **tools)
    assert ran.returncode == 1, ran.stderr
    document = json.loads(ran.stdout)
    assert document["nodes"]["bad"]["error"] == "a\\x00b"
    assert document["task_runs"] == {"expected": 2, "recorded": 2}
