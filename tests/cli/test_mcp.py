"""Plans and runs for an assistant: a client of the protocol's own SDK, and the command as a process."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest
from mcp import Client, ClientSession, MCPError, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.types import CallToolResult, Implementation, TextContent
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName

from tests.approvals import POST, asking
from tests.cli.command import PROGRAM, environment, output_schema
from tests.planning.answers import answer as planned
from tests.plans import node, plan
from tests.providers.openai_server import KEY, openai_server
from vibe_prefect.testing import free_port

BOUND = 120.0
SECRET = "tok-3f9a8c71e2d84b06"  # noqa: S105 - of nothing
TOOLS = """
import asyncio, os
from pathlib import Path
from vibe_prefect import tool

print("noise at import")


@tool
async def chatter() -> str:
    \"\"\"Print, and return a secret.\"\"\"
    print("noise of a tool", flush=True)
    os.system("echo noise of a program")
    return f"the token is {os.environ['SHOP_TOKEN']}"


@tool
async def hold(name: str) -> str:
    \"\"\"Wait for ever.\"\"\"
    Path(name).write_text("held")
    await asyncio.sleep(600)
    return "never"
"""


@dataclass
class Assistant:
    """A client with the answers of the server."""

    session: ClientSession
    progress: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])

    async def call(self, tool: str, /, **arguments: Any) -> Any:
        """Return the document that a tool answers with; it fits the schema of what commands print."""
        result = await self._called(tool, arguments)
        assert not result.is_error, _text(result)
        document = cast("dict[str, Any]", result.structured_content)
        assert json.loads(_text(result)) == document
        if "kind" in document:
            output_schema().validate(document)
        return document

    async def refused(self, tool: str, /, **arguments: Any) -> str:
        """Return the text with which a call is refused."""
        result = await self._called(tool, arguments)
        assert result.is_error
        return _text(result)

    async def _called(self, tool: str, arguments: dict[str, Any]) -> CallToolResult:
        result = await self.session.call_tool(tool, arguments, progress_callback=self._note)
        assert isinstance(result, CallToolResult)
        assert SECRET not in result.model_dump_json()
        return result

    async def _note(self, progress: float, total: float | None, message: str | None) -> None:
        assert total == 100.0
        self.progress.append((progress, message or ""))


def _text(result: CallToolResult) -> str:
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text


def reply(body: dict[str, Any]) -> str:
    """A plan of two nodes; asked to edit it, a plan of one."""
    return planned((lambda data: data["root_nodes"].pop()) if "without the file" in str(body) else None)


@contextmanager
def prepared(folder: Path, server: str) -> Generator[dict[str, str]]:
    """Write a file of tools, and serve a model; gives the environment of the command."""
    (folder / "tools.py").write_text(TOOLS)
    with openai_server() as provider:
        provider.reply = reply
        model = {"VIBE_PREFECT_MODEL": "openai:ok", "OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": provider.base_url}
        yield environment(folder / "home", {"PREFECT_API_URL": server, "SHOP_TOKEN": SECRET, **model})


@asynccontextmanager
async def assistant(folder: Path, server: str, *options: str) -> AsyncGenerator[Assistant]:
    """Start the command, and speak with it."""
    client = Implementation(name="Tester", version="1")
    with prepared(folder, server) as env, (folder / "stderr").open("w") as errors:
        arguments = ["mcp", "--tools", "tools.py", *options]
        program = StdioServerParameters(command=PROGRAM, args=arguments, env=env, cwd=folder)
        async with (
            asyncio.timeout(BOUND),
            stdio_client(program, errlog=errors) as (answers, requests),
            ClientSession(answers, requests, client_info=client) as session,
        ):
            await session.initialize()
            yield Assistant(session)


def calls(id: str, tool: str, **inputs: Any) -> str:
    """A plan whose only node calls a tool."""
    return plan(node(id, parameters={"tool": tool, "tool_inputs": inputs}), id=id).model_dump_json()


@pytest.mark.server
async def test_an_assistant_checks_runs_and_answers_for_plans(tmp_path: Path, prefect_server: str) -> None:
    text = asking().model_dump_json()
    async with assistant(tmp_path, prefect_server) as client:
        listed = {tool.name: tool for tool in (await client.session.list_tools()).tools}
        assert list(listed) == [
            *("tools", "validate", "plan", "forecast", "run"),
            *("runs", "report", "approvals", "approve", "reject"),
        ]
        assert {name for name, tool in listed.items() if tool.annotations and tool.annotations.read_only_hint} == {
            *("tools", "validate", "forecast", "runs", "report", "approvals"),
        }
        for tool in listed.values():
            assert tool.input_schema["additionalProperties"] is False
            assert all(field["description"] for field in tool.input_schema.get("properties", {}).values())
        (described,) = (await client.call("tools", name="approve"))["tools"]
        assert "question" in described["input_schema"]["properties"]

        assert (await client.call("validate", plan=text))["problems"] == []
        wrong = text.replace('"write_file"', '"write_fle"', 1)
        (problem,) = (await client.call("validate", plan=wrong))["problems"]
        assert (problem["node_id"], problem["line"]) == ("publish", 1)
        assert problem["hint"] == "did you mean 'write_file'?"
        assert "unknown tool 'write_fle'\n" in await client.refused("run", plan=wrong)
        forecast = await client.call("forecast", plan=text)
        assert (forecast["summary"]["run"], forecast["costs"]) == (5, None)

        run = await client.call("run", plan=text)
        steps = [progress for progress, _ in client.progress]
        assert steps == sorted(set(steps))
        assert client.progress[0][1] == "Starting workflow: asking"
        assert client.progress[-1] == (100.0, "Workflow waits: asking")
        assert (run["summary"]["status"], run["nodes"]["aside"]["status"]) == ("pending", "completed")
        name = run["run_name"]
        assert [step["command"] for step in run["next_steps"]][::2] == [
            f"vibe-prefect approve {name} check",
            f"vibe-prefect resume {name}",
        ]
        assert name in [listed["run_name"] for listed in (await client.call("runs"))["runs"]]
        questions = {asks["run_name"]: asks for asks in (await client.call("approvals"))["approvals"]}
        assert questions[name]["items"]["post"]["text"] == POST
        answer = await client.call("approve", run=name, node="check", by="Ann Lee", text="A cool post.")
        assert answer["answers"]["post"]["by"] == "Ann Lee (through Tester)"
        resumed = await client.call("run", resume_from=name)
        assert (resumed["summary"]["status"], resumed["nodes"]["post"]["reused"]) == ("completed", True)
        assert [file["path"] for file in resumed["files"]] == ["aside.md", "post.md"]
        assert resumed["next_steps"] == []
        report = await client.call("report", run=resumed["run_name"])
        assert {item["id"]: item["status"] for item in report["nodes"]} == dict.fromkeys(run["nodes"], "completed")

        made = await client.call("plan", wish="A post on tea")
        assert (made["plan_file"], made["diff"], made["forecast"]["summary"]["run"]) == (None, None, 2)
        assert (await client.call("validate", plan=made["text"]))["problems"] == []
        edited = await client.call("plan", wish="without the file", plan=made["text"])
        assert (edited["diff"]["removed"], edited["plan_id"]) == (["save"], made["plan_id"])
        assert "the wish for the edit is empty" in await client.refused("plan", wish=" ", plan=made["text"])

        refused = await client.call("run", plan=text.replace("warm", "wild"))
        assert refused["summary"]["status"] == "pending"
        rejected = await client.call("reject", run=refused["run_name"], node="check", by="Ann Lee", because="wild")
        assert rejected["answers"]["post"]["because"] == "wild"


@pytest.mark.server
async def test_an_assistant_cannot_leave_the_limits_of_the_operator(tmp_path: Path, prefect_server: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "secret.md").write_text("not for plans")
    options = ("--input-root", "in", "--budget-usd", "0.5", "--max-tokens", "1000")
    async with assistant(tmp_path, prefect_server, *options) as client:
        text = calls("chat", "chatter")
        assert await client.refused("run", plan=text, input_root="..", budget_usd="much") == (
            "arguments of 'run':\n"
            "  budget_usd: expected a number, found 'much'\n"
            "  input_root: unknown argument; did you mean 'inputs'?; it takes plan, inputs, resume_from, select, "
            "exclude, refresh, budget_usd, max_tokens"
        )
        assert (await client.refused("run", plan=text, max_tokens=1001)).startswith(
            "max_tokens is 1,001: expected 1,000 at most, the limit of this server's operator"
        )
        assert (await client.refused("tols")).startswith("unknown tool 'tols'; did you mean 'tools'?; the tools: ")
        assert "no plan" in await client.refused("forecast")
        assert "'nobody'" in await client.refused("report", run="nobody")
        assert "'nobody'" in await client.refused("run", resume_from="nobody")
        assert "expected at least 1, found 0" in await client.refused("runs", limit=0)

        for path in ("../secret.md", str(tmp_path / "secret.md")):
            outside = await client.call("run", plan=calls("out", "read_text", path=path))
            assert outside["summary"]["status"] == "failed"
            assert "not for plans" not in json.dumps(outside)
            assert path in outside["nodes"]["out"]["error"]
        part = plan(node("part"), id="parts").model_dump()
        part["root_nodes"] = [{"id": "part", "use": "../secret.md"}]
        (problem,) = (await client.call("validate", plan=json.dumps(part)))["problems"]
        assert problem["field"] == "use"
        fetches = calls("get", "http_fetch", url="http://127.0.0.1:1/x")
        assert "no host may be fetched from" in await client.refused("run", plan=fetches)

        chat = await client.call("run", plan=text)
        assert chat["nodes"]["chat"]["result"]["result"] == "the token is ***"
    assert (tmp_path / "stderr").read_text().count("noise") == 3, "noise has reached the protocol"


@pytest.mark.server
async def test_a_run_is_stopped_with_its_call_and_with_its_client(tmp_path: Path, prefect_server: str) -> None:
    async with assistant(tmp_path, prefect_server) as client:
        with_call = asyncio.create_task(client.call("run", plan=calls("with-call", "hold", name="first")))
        with_client = asyncio.create_task(client.call("run", plan=calls("with-client", "hold", name="second")))
        await _until(lambda: all((tmp_path / name).exists() for name in ("first", "second")))
        assert (await client.call("validate", plan=calls("aside", "chatter")))["problems"] == []
        with_call.cancel()
        await _reach("with-call", "Cancelled")
        await _reach("with-client", "Running")
        assert (await client.call("report"))["resume_command"] is not None
    await _reach("with-client", "Cancelled")
    with pytest.raises(MCPError, match="closed"):
        await with_client


@pytest.mark.server
async def test_assistants_of_this_machine_are_served_on_a_port(tmp_path: Path, prefect_server: str) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/mcp"
    with prepared(tmp_path, prefect_server) as env, (tmp_path / "log").open("wb") as log:
        command = (PROGRAM, "mcp", "--http", str(port))
        started = await asyncio.create_subprocess_exec(*command, cwd=tmp_path, env=env, stdout=log, stderr=log)
        try:
            await _until(lambda: f"serving assistants at {url}" in (tmp_path / "log").read_text())
            async with Client(url) as client:
                assert (await client.call_tool("validate", {"plan": calls("a", "combine")})).structured_content
            async with httpx2.AsyncClient() as outsider:
                answer = await outsider.post(url, headers={"Host": "evil.example"}, json={})
            assert answer.status_code == 421
            started.send_signal(signal.SIGINT)
            assert await started.wait() == 130
        finally:
            with suppress(ProcessLookupError):
                started.kill()


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(BOUND):
        while not condition():  # noqa: ASYNC110 - another process makes it true
            await asyncio.sleep(0.05)


async def _reach(plan_id: str, state: str) -> None:
    """Wait until the only run of a plan has a state, which is Prefect's for a run that was stopped, as by Ctrl-C."""
    named = FlowRunFilter(name=FlowRunFilterName(like_=f"{plan_id}-"))
    async with get_client() as client, asyncio.timeout(BOUND):
        while True:
            (run,) = await client.read_flow_runs(flow_run_filter=named, limit=1)
            if run.state_name == state:
                return
            await asyncio.sleep(0.1)
