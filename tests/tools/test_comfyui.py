"""`comfyui_run`, against a server on loopback that follows ComfyUI's documented API."""

from __future__ import annotations

import asyncio
import json
import logging
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from tests.providers.comfyui_server import WORKFLOW, ComfyUI, comfyui
from tests.providers.loopback import BOUND, serving
from tests.providers.media_server import KEY, picture
from vibe_prefect.errors import OutsideRootError, ToolError
from vibe_prefect.tools import ToolContext, ToolInputError, ToolResult, Workspace
from vibe_prefect.tools.comfy_server import ComfyServer
from vibe_prefect.tools.comfyui import comfyui_tool
from vibe_prefect.tools.provenance import read_stamp


@pytest.fixture
def context(tmp_path: Path) -> ToolContext:
    (tmp_path / "in").mkdir()
    return ToolContext(
        workspace=Workspace(tmp_path / "in", tmp_path / "out"), plan_id="plan", node_id="node", key="ab" * 32
    )


async def run(server: ComfyUI, context: ToolContext, inputs: dict[str, Any] | None = None, **config: Any) -> Any:
    made = comfyui_tool(ComfyServer(server.url, **config))
    return await made.execute({"workflow": WORKFLOW} if inputs is None else inputs, context)


async def until(holds: Any) -> None:
    async with asyncio.timeout(BOUND):
        while not holds():  # noqa: ASYNC110 - it happens in the server's thread
            await asyncio.sleep(0.005)


async def test_a_workflow_is_run_followed_and_its_files_fetched(
    context: ToolContext, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="vibe_prefect")
    with comfyui() as server:
        result: ToolResult = await run(
            server, context, {"workflow": WORKFLOW, "inputs": {"6.text": "a dog", "3.seed": 7}}, key=lambda: "token"
        )
    content = (tmp_path / "out/comfyui/node/001-9.png").read_bytes()
    (ref,) = result.output["files"]
    assert {**result.output, "files": []} == {**ref, "files": []}
    assert (ref["path"], ref["mime"], ref["bytes"]) == ("comfyui/node/001-9.png", "image/png", len(content))
    stamp = read_stamp(content)
    assert stamp is not None
    assert (stamp["plan"], stamp["node"], stamp["tool"], stamp["workflow_node"]) == ("plan", "node", "comfyui_run", "9")
    facts = result.metadata
    assert (facts["executed"], facts["cached"], facts["progress_steps"]) == (["3", "9"], ["6"], 6)
    (submitted,) = server.submitted
    assert submitted["prompt"]["6"]["inputs"]["text"] == "a dog"
    assert submitted["prompt"]["3"]["inputs"] == {"seed": 7, "positive": ["6", 0]}
    assert server.keys == {"Bearer token"}
    assert WORKFLOW["3"]["inputs"]["seed"] == 1
    said = [record.getMessage() for record in caplog.records if record.name.startswith("vibe_prefect")]
    assert "node: node 3 (KSampler), 2 of 3" in said
    assert "node: node 3, step 2 of 3" in said


async def test_a_workflow_comes_from_a_file_too(context: ToolContext, tmp_path: Path) -> None:
    (tmp_path / "in/flow.json").write_text(json.dumps(WORKFLOW))
    with comfyui(old=True) as server:
        result: ToolResult = await run(server, context, {"workflow_file": "flow.json", "folder": "a/b"})
    assert result.output["path"] == "a/b/001-9.png"


async def test_a_node_that_fails_is_named_with_its_reason(context: ToolContext, tmp_path: Path) -> None:
    with comfyui(fails_in="3") as server:
        with pytest.raises(ToolError, match=r"node '3' \(KSampler\) failed: .*OutOfMemoryError: Allocation on device"):
            await run(server, context)
        assert server.interrupted == []
    assert not (tmp_path / "out").exists()


async def test_a_refused_workflow_names_every_problem(context: ToolContext) -> None:
    workflow = deepcopy(WORKFLOW)
    workflow["3"]["class_type"] = "Unknown"
    with comfyui() as server, pytest.raises(ToolError) as caught:
        await run(server, context, {"workflow": workflow})
    assert str(caught.value) == (
        "comfyui_run: the server refuses the workflow: Prompt outputs failed validation; "
        "node '3' (Unknown): Value not in list (ckpt_name: 'x')"
    )
    assert not caught.value.retryable


async def test_a_token_that_the_server_repeats_does_not_show(context: ToolContext) -> None:
    with comfyui(fails_in="3", says=f"{'x' * 460} {KEY} of 'someone' {KEY}") as server:
        with pytest.raises(ToolError, match="failed: ") as caught:
            await run(server, context, key=lambda: KEY)
        assert f"Bearer {KEY}" in server.keys
    assert "***" in str(caught.value)
    assert KEY[:8] not in str(caught.value)


async def test_after_a_disconnect_it_connects_again(context: ToolContext) -> None:
    with comfyui(drops_at="3", waits_in="9") as server:
        running = asyncio.create_task(run(server, context))
        await until(lambda: server.connects == 2)
        server.waits_in = None
        result: ToolResult = await running
    assert result.metadata["reconnects"] == 1
    assert result.output["path"] == "comfyui/node/001-9.png"


async def test_without_any_websocket_the_history_tells_the_end(context: ToolContext) -> None:
    with comfyui(drops_at="3", refuses_sockets=True) as server:
        result: ToolResult = await run(server, context)
        assert server.connects == 1
    assert result.metadata["reconnects"] == 0
    assert result.output["path"] == "comfyui/node/001-9.png"


async def test_an_error_that_came_while_nobody_listened_is_found_in_the_history(context: ToolContext) -> None:
    with (
        comfyui(drops_at="3", refuses_sockets=True, fails_in="9") as server,
        pytest.raises(ToolError, match=r"node '9' \(SaveImage\) failed"),
    ):
        await run(server, context)


async def test_a_server_that_forgot_the_workflow_is_worth_another_try(context: ToolContext) -> None:
    with comfyui(drops_at="3", forgets=True) as server, pytest.raises(ToolError, match="no longer knows") as caught:
        await run(server, context)
    assert caught.value.retryable


@pytest.mark.parametrize("old", [False, True])
async def test_a_cancelled_run_is_stopped_on_the_server(
    context: ToolContext, old: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="vibe_prefect")
    with comfyui(waits_in="3", old=old) as server:
        running = asyncio.create_task(run(server, context))
        await until(lambda: "node 3 (KSampler)" in caplog.text)  # an old server's own id is known by then
        (id,) = server.running
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert server.interrupted == [id]


async def test_a_run_that_takes_too_long_leaves_the_queue_and_interrupts_nobody_else(context: ToolContext) -> None:
    with comfyui(busy=True) as server:
        with pytest.raises(ToolError, match=r"took longer than 0.5 s") as caught:
            await run(server, context, seconds=0.5)
        assert caught.value.retryable
        assert len(server.submitted) == 1
        assert (server.pending, server.interrupted) == ([], [])


async def test_an_interruption_on_the_server_is_told(context: ToolContext) -> None:
    with comfyui(waits_in="3") as server:
        running = asyncio.create_task(run(server, context))
        await until(lambda: "3" in server.began)
        server.interrupted.extend(server.running)
        with pytest.raises(ToolError, match=r"was interrupted on the server, in node '3' \(KSampler\)"):
            await running


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("../../../etc/passwd", "comfyui/node/001-9.bin"),
        ("/etc/cron.d/evil.sh", "comfyui/node/001-9.sh"),
        ("a.png/../../b", "comfyui/node/001-9.bin"),
        ("x.PNG", "comfyui/node/001-9.png"),
        ("x.p\0ng", "comfyui/node/001-9.bin"),
        ("x.webm", "comfyui/node/001-9.webm"),
    ],
)
async def test_a_name_from_the_server_never_becomes_a_path(
    context: ToolContext, tmp_path: Path, name: str, path: str
) -> None:
    with comfyui(files={name: b"content"}) as server:
        result: ToolResult = await run(server, context)
    assert result.output["path"] == path
    written = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()}
    assert written == {f"out/{path}", f"out/{path}.provenance.json"}


async def test_all_files_are_fetched_in_order_and_bounded(context: ToolContext) -> None:
    files = {"b.png": picture(), "a.jpg": picture("JPEG"), "c.mp4": b"x" * 2_000}
    with comfyui(files=files) as server:
        result: ToolResult = await run(server, context)
        with pytest.raises(ToolError, match="more than 1,000 bytes") as caught:
            await run(server, context, max_bytes=1_000)
        assert not caught.value.retryable
    paths = [ref["path"] for ref in result.output["files"]]
    assert paths == ["comfyui/node/001-9.png", "comfyui/node/002-9.jpg", "comfyui/node/003-9.mp4"]


async def test_a_workflow_that_saves_nothing_fails(context: ToolContext) -> None:
    with comfyui(files={}) as server, pytest.raises(ToolError, match="saved no file; it needs a node such as"):
        await run(server, context)


async def test_nobody_there_is_worth_another_try(context: ToolContext) -> None:
    with pytest.raises(ToolError, match=r"the websocket of http://127.0.0.1:1 could not be opened") as caught:
        await run(ComfyUI(port=1), context)
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        ({}, ToolInputError, "give either workflow or workflow_file"),
        ({"workflow": WORKFLOW, "workflow_file": "x"}, ToolInputError, "give either workflow or workflow_file"),
        ({"workflow_file": "none.json"}, ToolInputError, "workflow_file 'none.json' cannot be read"),
        ({"workflow_file": "../flow.json"}, OutsideRootError, "outside"),
        ({"workflow": WORKFLOW, "folder": "../x"}, OutsideRootError, "outside"),
        ({"workflow": {}}, ToolInputError, "the workflow has no nodes"),
        ({"workflow": {"nodes": [], "links": []}}, ToolInputError, r"export it by 'Export \(API\)'"),
        ({"workflow": WORKFLOW, "inputs": {"33.seed": 1}}, ToolInputError, "node '33', which .* did you mean '3'"),
        ({"workflow": WORKFLOW, "inputs": {"3.sed": 1}}, ToolInputError, "input 'sed', which .* did you mean 'seed'"),
        ({"workflow": WORKFLOW, "outputs": ["8"]}, ToolInputError, "outputs name node '8'"),
        ({"workflow": {"1": {"class_type": "RunShell", "inputs": {}}}}, ToolInputError, "'1' is a RunShell; the op"),
    ],
)
async def test_what_cannot_run_is_refused_before_it_is_submitted(
    context: ToolContext, inputs: dict[str, Any], error: type[Exception], message: str
) -> None:
    with comfyui() as server:
        with pytest.raises(error, match=message):
            await run(server, context, inputs, nodes=("KSampler", "CLIPTextEncode", "SaveImage"))
        assert server.submitted == []


async def test_a_proxy_that_asks_to_wait_is_waited_for(context: ToolContext) -> None:
    asked: list[str] = []

    async def prompt(request: Request) -> Response:
        asked.append(await request.json() and request.url.path)
        if len(asked) == 1:
            return JSONResponse({}, status_code=503, headers={"retry-after-ms": "50"})
        return JSONResponse({"error": {"message": "no such node"}}, status_code=400)

    async def listen(socket: WebSocket) -> None:
        await socket.accept()

    app = Starlette(routes=[Route("/prompt", prompt, methods=["POST"]), WebSocketRoute("/ws", listen)])
    with serving(app) as port:
        tool = comfyui_tool(ComfyServer(f"http://127.0.0.1:{port}"))
        with pytest.raises(ToolError, match="refuses the workflow: no such node"):
            await tool.execute({"workflow": WORKFLOW}, context)
    assert asked == ["/prompt", "/prompt"]
