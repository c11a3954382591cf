"""A suspended run waits on while the Prefect server is stopped and started again, and goes on once it is answered."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from tests.deployed.api import call, ended, in_state, process, trigger
from tests.deployed.plans import plan, tool
from vibe_prefect.testing import free_port, running_server

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.storm]


def asking() -> str:
    check = {**tool("check", "approve", {"question": "May it go out?"}, "post"), "type": "validate"}
    post = tool("post", "template_fill", {"template": "A warm post."})
    publish = {"path": "post.md", "content": "{{ outputs.check.text }}"}
    return json.dumps(plan("asked", post, check, tool("publish", "write_file", publish, "check")))


async def suspended(name: str) -> UUID:
    async with get_client() as client:
        run = await trigger(client, name)
        assert (await in_state(client, run, "Suspended", "Failed")).state_name == "Suspended"
        return run


async def test_suspended_run_survives_a_restart_of_the_server(tmp_path: Path) -> None:
    """`serve` stays, as does the worker of an operator who restarts the server."""
    (tmp_path / "asked.json").write_text(asking())
    home, port = tmp_path / "server", free_port()
    api = f"http://127.0.0.1:{port}/api"
    server = ExitStack()
    with temporary_settings({PREFECT_API_URL: api}), server:
        server.enter_context(running_server(home, port=port))
        with process(tmp_path, api, "serve", "asked.json", ready="serving") as serve:
            run = await suspended("asked")
            server.close()
            server.enter_context(running_server(home, port=port))
            listed = call(tmp_path, api, "approvals", "--json")
            assert listed.returncode == 0, listed.stderr
            (asks,) = json.loads(listed.stdout)["approvals"]
            assert (asks["run_id"], asks["suspended"]) == (str(run), True)
            answered = call(tmp_path, api, "approve", asks["run_name"], "check", "--json")
            assert json.loads(answered.stdout)["goes_on"], answered.stderr
            async with get_client() as client:
                done = await ended(client, run)
            assert (done.state_name, done.run_count) == ("Completed", 1)
            assert serve.poll() is None
    (made,) = tmp_path.glob("outputs/asked/*/post.md")
    assert made.read_text() == "A warm post."
