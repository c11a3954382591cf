"""`comfyui_run`, against a server on loopback that does what ComfyUI's code does."""

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

from tests.plans import node, plan
from tests.providers.comfyui_server import WORKFLOW, ComfyUI, comfyui
from tests.providers.loopback import BOUND, serving
from tests.providers.media_server import KEY, picture
from vibe_prefect import PlanError, ToolRegistry, compile_plan
from vibe_prefect.errors import OutsideRootError, ToolError
from vibe_prefect.tools import ToolContext, ToolInputError, ToolResult, Workspace
from vibe_prefect.tools.comfyui.endpoint import ComfyServer
from vibe_prefect.tools.comfyui.workflow import filled, settings_of, workflow_problems
from vibe_prefect.tools.comfyui.workflow_tool import comfyui_tool
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


TWO = {**WORKFLOW, "12": {"class_type": "SaveImage", "inputs": {"images": ["3", 0]}}}
DROPPED = {
    "4": {
        "class_type": "CheckpointLoaderSimple",
        "dependent_outputs": ["12"],
        "errors": [{"message": "Value not in list", "details": "ckpt_name: 'x.safetensors' not in []"}],
    }
}
"""What the server finds wrong before the second of two outputs."""


@pytest.mark.parametrize("options", [{}, {"old": True}, {"silent": True, "drops_at": "9", "refuses_sockets": True}])
@pytest.mark.parametrize("unloads", [0.0, 0.3])
async def test_history_is_waited_for_while_the_queue_holds_the_workflow(
    context: ToolContext, unloads: float, options: dict[str, Any]
) -> None:
    with comfyui(unloads=unloads, **options) as server:
        result: ToolResult = await run(server, context)
        assert len(server.submitted) == 1
        assert server.interrupted == []
    assert result.output["path"] == "comfyui/node/001-9.png"


async def test_a_success_without_history_is_given_up_after_a_while(
    context: ToolContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vibe_prefect.tools.comfyui.client.GRACE", 0.2)
    with (
        comfyui(keeps_no_history=True) as server,
        pytest.raises(ToolError, match="the workflow ended, and the server has no history of it") as caught,
    ):
        await run(server, context)
    assert caught.value.retryable


async def test_an_answer_that_the_next_may_mend_costs_no_workflow(context: ToolContext) -> None:
    with comfyui(drops_at="3", refuses_sockets=True, unloads=0.2, stumbles=2) as server:
        result: ToolResult = await run(server, context)
        assert (server.stumbles, len(server.submitted), server.interrupted) == (0, 1, [])
    assert result.output["path"] == "comfyui/node/001-9.png"


async def test_a_dropped_output_that_is_wanted_fails_and_stops_the_workflow(context: ToolContext) -> None:
    with comfyui(node_errors=DROPPED, waits_in="3") as server:
        with pytest.raises(ToolError) as caught:
            await run(server, context, {"workflow": TWO, "outputs": ["9", "12"]})
        assert len(server.interrupted) == 1
    assert str(caught.value) == (
        "comfyui_run: the server drops what outputs name: "
        "node '4' (CheckpointLoaderSimple): Value not in list (ckpt_name: 'x.safetensors' not in [])"
    )
    assert not caught.value.retryable


async def test_a_dropped_output_that_nobody_names_is_told(
    context: ToolContext, caplog: pytest.LogCaptureFixture
) -> None:
    with comfyui(node_errors=DROPPED) as server:
        result: ToolResult = await run(server, context, {"workflow": TWO})
        wanted: ToolResult = await run(server, context, {"workflow": TWO, "outputs": ["9"]})
        server.files = {}
        with pytest.raises(ToolError, match=r"saved no file; .*; left out: node '4' .* Value not in list"):
            await run(server, context, {"workflow": TWO})
    for one in (result, wanted):
        assert list(one.metadata["left_out"]) == ["12"]
        assert "ckpt_name: 'x.safetensors' not in []" in one.metadata["left_out"]["12"]
    assert "node: the server leaves out node 12: node '4' (CheckpointLoaderSimple)" in caplog.text


async def test_a_blocked_node_does_not_end_the_workflow(context: ToolContext) -> None:
    with comfyui(blocks="3") as server:
        result: ToolResult = await run(server, context)
        assert "no face was found" in result.metadata["left_out"]["3"]
        with pytest.raises(ToolError, match=r"drops what outputs name: node '3' \(KSampler\): Execution Blocked"):
            await run(server, context, {"workflow": WORKFLOW, "outputs": ["3"]})


@pytest.mark.parametrize(
    "outputs", [None, {"9": {"images": []}}, {"9": {"text": ["", " "]}}, {"9": {"animated": [True]}}]
)
async def test_each_node_that_is_named_must_have_made_something(
    context: ToolContext, outputs: dict[str, Any] | None
) -> None:
    wanted = ["9", "12"] if outputs is None else ["9"]
    nothing = r"node '\d+' \(SaveImage\), which outputs name, made nothing"
    with comfyui(outputs=outputs) as server, pytest.raises(ToolError, match=nothing) as caught:
        await run(server, context, {"workflow": TWO, "outputs": wanted})
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("outputs", "text"),
    [
        ({"9": {"text": ["A cat on a mat"]}}, "A cat on a mat"),
        ({"9": {"text": "A cat"}}, "A cat"),
        ({"9": {"text": ["A cat", "A dog"]}}, "A cat\n\nA dog"),
        ({"9": {"text": [["A cat"], ["A dog", ""]]}}, "A cat\n\nA dog"),
        ({"9": {"text": ["second"]}, "3": {"text": ["first"]}}, "first\n\nsecond"),
    ],
)
async def test_what_a_workflow_says_is_its_text(context: ToolContext, outputs: dict[str, Any], text: str) -> None:
    with comfyui(outputs=outputs) as server:
        result: ToolResult = await run(server, context)
    assert (result.output["text"], result.output["files"]) == (text, [])
    assert "path" not in result.output


async def test_texts_stand_beside_files(context: ToolContext) -> None:
    image = {"filename": "a.png", "subfolder": "", "type": "output"}
    outputs = {"9": {"images": [image]}, "3": {"text": ["A cat"]}}
    with comfyui(outputs=outputs, files={"a.png": picture()}) as server:
        both: ToolResult = await run(server, context)
        one: ToolResult = await run(server, context, {"workflow": WORKFLOW, "outputs": ["9"]})
    assert (both.output["text"], both.output["texts"], both.output["path"]) == (
        "A cat",
        {"3": ["A cat"]},
        "comfyui/node/001-9.png",
    )
    assert "text" not in one.output


async def test_previews_are_fetched_where_they_are_named(context: ToolContext) -> None:
    preview = {"filename": "p.png", "subfolder": "", "type": "temp"}
    with comfyui(outputs={"3": {"images": [preview]}}, files={"p.png": picture()}) as server:
        result: ToolResult = await run(server, context, {"workflow": WORKFLOW, "outputs": ["3"]})
        assert "temp:p.png" in server.asked
        with pytest.raises(ToolError, match=r"saved no file; .*; outputs may name nodes that made previews: '3'"):
            await run(server, context)
    assert result.output["path"] == "comfyui/node/001-3.png"


def saved(name: str, subfolder: str = "", kind: str = "output") -> dict[str, str]:
    return {"filename": name, "subfolder": subfolder, "type": kind}


@pytest.mark.parametrize(
    ("output", "files", "suffixes"),
    [
        ({"gifs": [{**saved("a.mp4"), "format": "video/h264-mp4", "frame_rate": 8.0}]}, ["a.mp4"], [".mp4"]),
        ({"images": [saved("a.webp")], "animated": [True]}, ["a.webp"], [".webp"]),
        ({"audio": [saved("a.flac", "audio")]}, ["audio/a.flac"], [".flac"]),
        ({"3d": [saved("a.glb", "mesh")]}, ["mesh/a.glb"], [".glb"]),
        ({"result": ["3d/a.glb", {"position": {"x": 1}}, None]}, ["3d/a.glb"], [".glb"]),
        ({"result": ["a.ply [output]"]}, ["a.ply"], [".ply"]),
        ({"result": ["3d\\b\\a.obj"]}, ["3d/b/a.obj"], [".obj"]),
        ({"images": [saved("a.png", "one"), saved("a.png", "two")]}, ["one/a.png", "two/a.png"], [".png", ".png"]),
        ({"images": [saved("a.png")], "a_images": [saved("a.png")]}, ["a.png"], [".png"]),
        ({"images": saved("a.png")}, ["a.png"], [".png"]),
    ],
)
async def test_files_of_every_kind_are_fetched_each_once(
    context: ToolContext, output: dict[str, Any], files: list[str], suffixes: list[str]
) -> None:
    content = {name: picture() if name.endswith(".png") else name.encode() for name in files}
    with comfyui(outputs={"9": output}, files=content) as server:
        result: ToolResult = await run(server, context)
    paths = [ref["path"] for ref in result.output["files"]]
    assert paths == [f"comfyui/node/{number:03}-9{suffix}" for number, suffix in enumerate(suffixes, start=1)]


async def test_numbers_and_truth_values_that_nodes_show_are_texts_each_time(context: ToolContext) -> None:
    made = {
        "9": {"images": [saved("a.png")], "animated": [False]},
        "3": {"text": ["It is", 42, True, None, " "]},
        "6": {"value": [[0.5], 42, 42]},
    }
    with comfyui(outputs=made, files={"a.png": picture()}) as server:
        result: ToolResult = await run(server, context)
    assert result.output["texts"] == {"3": ["It is", "42", "true"], "6": ["0.5", "42", "42"]}


async def test_what_a_node_unfolds_into_is_that_nodes(context: ToolContext) -> None:
    made = {"9.0.0.1": {"images": [saved("a.png")]}}
    with comfyui(outputs=made, meta={"9.0.0.1": {"display_node": "9"}}, files={"a.png": picture()}) as server:
        result: ToolResult = await run(server, context, {"workflow": WORKFLOW, "outputs": ["9"]})
    assert result.output["path"] == "comfyui/node/001-9.png"


async def test_images_that_come_over_the_websocket_are_outputs(context: ToolContext) -> None:
    sent = b"\0\0\0\1\0\0\0\2" + picture()
    workflow = {**WORKFLOW, "9": {"class_type": "SaveImageWebsocket", "inputs": {"images": ["3", 0]}}}
    with comfyui(outputs={}, sends=sent) as server:
        result: ToolResult = await run(server, context, {"workflow": workflow, "outputs": ["9"]})
        with pytest.raises(ToolError, match="saved no file"):
            await run(server, context)  # of another class it is a preview
    assert result.output["path"] == "comfyui/node/001-9.png"


@pytest.mark.parametrize(
    ("files", "outputs", "message"),
    [
        ({"a.png": b""}, None, "the file 'a.png' of node '9' has no bytes on the server"),
        ({}, {"9": {"images": [saved("gone.png")]}}, "/view answered 404"),
    ],
)
async def test_a_file_that_is_not_there_is_an_error(
    context: ToolContext, files: dict[str, bytes], outputs: dict[str, Any] | None, message: str
) -> None:
    with comfyui(files=files, outputs=outputs) as server, pytest.raises(ToolError, match=message):
        await run(server, context)


DOTTED = {
    "4": {"class_type": "ResizeImage", "inputs": {"input": ["3", 0], "resize_type": "scale", "resize_type.width": 512}},
    "4.1": {"class_type": "KSampler", "inputs": {"seed": 1, "width": 2}},
    "57:3": {"class_type": "KSampler", "inputs": {"seed": 1}},
    "3": WORKFLOW["6"],
}


@pytest.mark.parametrize(
    ("inputs", "node", "name", "value"),
    [
        ({"4.resize_type.width": 1024}, "4", "resize_type.width", 1024),
        ({"4": {"resize_type.width": 1024}}, "4", "resize_type.width", 1024),
        ({"57:3.seed": 7}, "57:3", "seed", 7),
        ({"57:3": {"seed": 7}}, "57:3", "seed", 7),
        ({"4.1.seed": 7}, "4.1", "seed", 7),
        ({"4.1": {"seed": 7}}, "4.1", "seed", 7),
        ({"3.text": {"a": 1}}, "3", "text", {"a": 1}),
    ],
)
def test_an_input_is_found_by_the_longest_id(inputs: dict[str, Any], node: str, name: str, value: Any) -> None:
    assert workflow_problems(DOTTED, inputs) == []
    assert filled(DOTTED, inputs)[node]["inputs"][name] == value


def test_the_id_is_one_whose_node_has_the_input() -> None:
    workflow = {**DOTTED, "4": {"class_type": "A", "inputs": {"1.seed": 0, "1.cfg": 0}}}
    assert [(one.node, one.name) for one in settings_of(workflow, {"4.1.seed": 1, "4.1.cfg": 1})] == [
        ("4.1", "seed"),
        ("4", "1.cfg"),
    ]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"4.resize_type.widht": 1}, "input 'resize_type.widht', which node '4' does not have; did you mean"),
        ({"4": {"resize_type.widht": 1}}, "input 'resize_type.widht', which node '4' does not have; did you mean"),
        ({"57:4.seed": 1}, "names node '57:4', which the workflow does not have; did you mean '57:3'"),
        ({"3": "a cat"}, "'3' is a node: name its input, such as '3.text'"),
        ({"text": "a cat"}, "names node 'text'"),
        ({"3.text": "a", "3": {"text": "b"}}, "'text' of node '3' is set twice"),
    ],
)
def test_a_misspelt_setting_is_named(inputs: dict[str, Any], message: str) -> None:
    (problem,) = workflow_problems(DOTTED, inputs)
    assert message in problem.message


@pytest.mark.parametrize(
    ("workflow", "message"),
    [
        ({"nodes": [], "links": [], "version": 0.4}, "is in the editor's format; export it by 'Export (API)'"),
        ({"prompt": WORKFLOW, "client_id": "x"}, "holds the workflow under 'prompt'; give that part alone"),
        ({"output": WORKFLOW, "workflow": {}}, "holds the workflow under 'output'"),
        ({**WORKFLOW, "10": {"class_type": "X"}}, "node '10' of the workflow has no class_type and inputs, but is {"),
        (
            {**WORKFLOW, "9": {"class_type": "SaveImage", "inputs": {"images": ["33", 0]}}},
            "node '9': input 'images' is linked to node '33', which the workflow does not have; did you mean '3'",
        ),
    ],
)
def test_what_is_no_workflow_is_named_when_the_plan_is_compiled(workflow: dict[str, Any], message: str) -> None:
    tools = ToolRegistry([comfyui_tool(ComfyServer("http://127.0.0.1:1"))])
    inputs = {"workflow": workflow, "inputs": {"6.text": "{{ vibe.description }}"}}
    subject = plan(node("art", "generate", parameters={"tool": "comfyui_run", "tool_inputs": inputs}))
    with pytest.raises(PlanError) as caught:
        compile_plan(subject, tools=tools)
    assert message in str(caught.value)
    assert caught.value.problems[0].field == "parameters.tool_inputs.workflow"


def test_all_mistakes_are_named_at_once_and_templates_are_let_be() -> None:
    tools = ToolRegistry([comfyui_tool(ComfyServer("http://127.0.0.1:1", nodes=("KSampler", "SaveImage")))])
    workflow = {**WORKFLOW, "3": {"class_type": "KSampler", "inputs": {"seed": "{{ 1 + 1 }}"}}}
    inputs = {
        "workflow": workflow,
        "inputs": {"6.txt": "{{ vibe.description }}", "33.seed": 1, "6": "{{ {'text': 'a'} }}"},
        "outputs": ["9", "8", "{{ vibe.description }}"],
    }
    subject = plan(node("art", "generate", parameters={"tool": "comfyui_run", "tool_inputs": inputs}))
    with pytest.raises(PlanError) as caught:
        compile_plan(subject, tools=tools)
    messages = sorted(problem.message for problem in caught.value.problems)
    starts = (
        "inputs: '33.seed' names node",
        "inputs: '6.txt' names input",
        "node '6' is a CLIP",
        "outputs name node '8'",
    )
    assert [message.startswith(start) for message, start in zip(messages, starts, strict=True)] == [True] * 4


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        ({}, ToolInputError, "give either workflow or workflow_file"),
        ({"workflow": WORKFLOW, "workflow_file": "x"}, ToolInputError, "give either workflow or workflow_file"),
        ({"workflow_file": "none.json"}, ToolInputError, "workflow_file 'none.json' cannot be read"),
        ({"workflow_file": "twice.json"}, ToolInputError, "'twice.json' cannot be read: the key '3' stands in one obj"),
        ({"workflow_file": "nan.json"}, ToolInputError, "'nan.json' cannot be read: NaN is not a JSON value"),
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
    read = context.get("workspace")
    assert read is not None
    (read.input_root / "twice.json").write_text('{"3": {}, "3": {}}')
    (read.input_root / "nan.json").write_text('{"3": {"class_type": "A", "inputs": {"seed": NaN}}}')
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
