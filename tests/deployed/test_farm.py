"""Two machines without a common file system: a composite runs on the other one's work pool, with records in S3."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen
from uuid import UUID

import psutil
import pytest
import pytest_asyncio
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags
from prefect.client.schemas.objects import FlowRun
from prefect.filesystems import RemoteFileSystem

from tests.deployed.api import BOUND, PROGRAM, call, ended, environment, in_state, node_states, process, until
from tests.deployed.gate import Gate, running_gate
from tests.deployed.plans import Plan, plan, tool, written
from vibe_prefect.engine.placements.child_run import child_tag
from vibe_prefect.engine.runs.load_report import load_report
from vibe_prefect.engine.runs.resume_target import find_run
from vibe_prefect.settings.package import variable

pytestmark = [pytest.mark.server, pytest.mark.storm]

POOL = "farm"
BLOCK = "remote-file-system/farm"
TOOLS = '''
from pathlib import Path
from vibe_prefect import Spending, ToolContext, ToolResult, paid_call, tool

@tool(version="1")
async def paint(name: str, context: ToolContext) -> ToolResult:
    """Paint a picture for a dollar."""
    async with paid_call(context.get("budget"), Spending(usd=1.0)) as charge:
        with Path("painted.txt").open("a") as log:
            log.write(f"{name}\\n")
        charge.used = Spending(usd=1.0)
    file = context["workspace"].write(f"{name}.txt", f"a picture of {name}".encode())
    return ToolResult(success=True, output=file, metadata={"usage": {"cost_usd": 1.0}})
'''


@dataclass
class Farm:
    """Two folders that stand for two machines."""

    api: str
    here: Path
    there: Path
    gate: Gate
    worker: subprocess.Popen[bytes]

    @property
    def settings(self) -> dict[str, str]:
        return settings_of(self.gate)

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return call(self.here, self.api, *arguments, **self.settings)

    @contextmanager
    def running(self, file: str, *options: str) -> Generator[subprocess.Popen[bytes]]:
        """Run a plan on this machine, beside the test."""
        with (self.here / "run.log").open("wb") as log:
            env = environment(self.api, self.here, **self.settings)
            arguments = [PROGRAM, "run", file, *options]
            started = subprocess.Popen(arguments, cwd=self.here, env=env, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield started
        finally:
            if started.poll() is None:
                started.kill()
                started.wait()

    def painted(self, where: Path) -> Counter[str]:
        log = where / "painted.txt"
        return Counter(log.read_text().splitlines() if log.exists() else ())

    async def held(self, client: PrefectClient, id: str) -> tuple[FlowRun, FlowRun]:
        """The run of a plan and its child run, which stands still at the gate."""

        async def look() -> bool | None:
            return self.gate.hits[f"held-{id}"] > 0 or None

        await until(look, f"the node that is held\n{(self.here / 'run.log').read_text()}")
        (parent,) = await self.runs(client, id)
        (child,) = await children(client, parent.id)
        return parent, child

    async def runs(self, client: PrefectClient, id: str) -> list[FlowRun]:
        """The runs of a plan, without child runs."""
        found = await client.read_flow_runs(flow_run_filter=FlowRunFilter(tags=FlowRunFilterTags(all_=[f"plan:{id}"])))
        return [run for run in found if run.parent_task_run_id is None]

    def process_of(self, run: FlowRun) -> psutil.Process:
        """The process that executes a run for the worker."""
        for found in psutil.Process(self.worker.pid).children(recursive=True):
            if found.environ().get("PREFECT__FLOW_RUN_ID") == str(run.id):
                return found
        raise AssertionError(f"no process executes {run.name}")


async def children(client: PrefectClient, parent: UUID) -> list[FlowRun]:
    tags = FlowRunFilterTags(all_=[child_tag(parent)])
    found = await client.read_flow_runs(flow_run_filter=FlowRunFilter(tags=tags))
    return sorted(found, key=lambda run: run.name)


def settings_of(gate: Gate) -> dict[str, str]:
    placements = {"farm": {"kind": "deployment", "deployment": f"run-plan/{POOL}"}}
    return {
        variable("storage"): BLOCK,
        variable("placements"): json.dumps(placements),
        variable("tools"): "tools.py",
        **gate.settings,
    }


@pytest.fixture(scope="module")
def s3() -> Generator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with urlopen(Request(f"http://{host}:{port}/records", method="PUT")):
        pass
    yield f"http://{host}:{port}"
    server.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def block(prefect_server: str, s3: str) -> str:
    settings = {"key": "test", "secret": "test", "client_kwargs": {"endpoint_url": s3, "region_name": "us-east-1"}}
    storage: Any = RemoteFileSystem(basepath="s3://records/runs", settings=settings)
    await storage.save(BLOCK.partition("/")[2])
    return BLOCK


@pytest.fixture(scope="module")
def farm(prefect_server: str, block: str, tmp_path_factory: pytest.TempPathFactory) -> Generator[Farm]:
    here, there = tmp_path_factory.mktemp("here"), tmp_path_factory.mktemp("there")
    for folder in (here, there):
        (folder / "tools.py").write_text(TOOLS)
    (there / "any.json").write_text(json.dumps(written("any")))
    options = ("--pool", POOL, "--name", POOL, "--overlap", "allow")
    deployed = call(there, prefect_server, "deploy", "any.json", *options)
    assert deployed.returncode == 0, deployed.stderr
    with running_gate() as gate:
        own = {variable("tools"): "tools.py", "PREFECT_WORKER_QUERY_SECONDS": "1", **gate.settings}
        start = ("worker", "start", "--pool", POOL)
        with process(there, prefect_server, *start, ready="started!", **own) as worker:
            yield Farm(prefect_server, here, there, gate, worker)


def studio(gate: Gate, id: str) -> Plan:
    """A plan with a composite for the other machine, which paints, stands still at the gate, and paints a list."""
    shots = {
        "id": "shots",
        "type": "composite",
        "description": "each shot",
        "dependencies": [f"held-{id}"],
        "for_each": "{{ ['moon', 'rain'] }}",
        "key": "{{ item }}",
        "children": [tool("shot", "paint", {"name": "{{ item }}"})],
    }
    scene = {
        "id": "scene",
        "type": "composite",
        "description": "the scene",
        "dependencies": ["title"],
        "policy": {"run_on": "farm", "retries": 1, "retry_delay": 0},
        "children": [
            tool("sun", "paint", {"name": "sun"}),
            tool(f"held-{id}", "http_fetch", {"url": gate.url("held", f"held-{id}")}, "sun"),
            shots,
        ],
    }
    return plan(id, tool("title", "paint", {"name": "title"}), scene, tool("end", "paint", {"name": "end"}, "scene"))


async def test_a_composite_runs_on_the_other_machine_and_goes_on_there_after_a_kill(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable("storage"), BLOCK)
    (farm.here / "killed.json").write_text(json.dumps(studio(farm.gate, "killed")))
    async with get_client() as client:
        with farm.running("killed.json", "--budget-usd", "5.5") as run:
            parent, child = await farm.held(client, "killed")
            farm.process_of(child).kill()
            assert (await ended(client, child.id)).state_name == "Crashed"
            farm.gate.opened.set()
            assert run.wait(BOUND) == 0, (farm.here / "run.log").read_text()
        names = [one.name for one in await children(client, parent.id)]
        assert names == [f"{parent.name}-scene", f"{parent.name}-scene-2"]
        # Eight nodes, and the two child runs.
        assert await node_states(client, parent.id, 10) == {"Completed": 9, "Crashed": 1}
        record = await find_run(client, parent.name)
    assert farm.painted(farm.here) == Counter(["title", "end"])
    assert farm.painted(farm.there) == Counter(["sun", "moon", "rain"])
    report = await load_report(record.name)
    assert report.totals.cost_usd == 5.0
    assert {one.id for one in report.nodes} >= {"scene", "sun", "shots.moon.shot", "shots.rain.shot", "end"}
    (outputs,) = farm.here.glob("outputs/killed/*")
    assert sorted(path.name for path in outputs.iterdir()) == [
        "end.txt",
        "moon.txt",
        "rain.txt",
        "sun.txt",
        "title.txt",
    ]
    assert (outputs / "moon.txt").read_text() == "a picture of moon"
    again = farm.call("resume", parent.name)
    assert again.returncode == 0, again.stderr
    assert farm.painted(farm.here) + farm.painted(farm.there) == Counter(["title", "end", "sun", "moon", "rain"])


async def test_a_run_that_is_stopped_stops_its_child_run_and_goes_on_later(farm: Farm) -> None:
    farm.gate.opened.clear()
    (farm.here / "stopped.json").write_text(json.dumps(studio(farm.gate, "stopped")))
    async with get_client() as client:
        with farm.running("stopped.json") as run:
            parent, child = await farm.held(client, "stopped")
            os.kill(run.pid, signal.SIGINT)
            assert run.wait(BOUND) != 0
        await in_state(client, child.id, "Cancelled")
        farm.gate.opened.set()
        before = farm.painted(farm.there)
        resumed = farm.call("resume", parent.name)
        assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert farm.painted(farm.there) - before == Counter(["moon", "rain"])
