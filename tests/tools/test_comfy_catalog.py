"""Workflows compared with a server's nodes before a run begins."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from tests.providers.comfyui_server import CLASSES, WORKFLOW, ComfyUI, comfyui
from tests.providers.media_server import KEY
from vibe_prefect.errors import ToolError
from vibe_prefect.tools import Workspace
from vibe_prefect.tools.base import ToolTraits
from vibe_prefect.tools.comfyui.endpoint import ComfyServer
from vibe_prefect.tools.comfyui.workflow_tool import comfyui_tool
from vibe_prefect.tools.planned_calls import PlannedCall

LOADER: dict[str, Any] = {
    **WORKFLOW,
    "3": {"class_type": "KSampler", "inputs": {"seed": 1, "positive": ["6", 0], "model": ["4", 0]}},
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "v1-5-pruned.safetensors"}},
}

LOADS = "node '4' (CheckpointLoaderSimple) of the workflow: the server has no ckpt_name"


def changed(id: str, kind: str, **inputs: Any) -> dict[str, Any]:
    """Return the workflow with one node more, or another one, before its output."""
    workflow = {**LOADER, id: {"class_type": kind, "inputs": inputs}}
    if id not in LOADER:
        workflow["9"] = {"class_type": "SaveImage", "inputs": {"images": [id, 0]}}
    return workflow


async def preflight(server: ComfyUI, workspace: Workspace, *calls: dict[str, Any], **config: Any) -> list[str]:
    made = comfyui_tool(ComfyServer(server.url, **config))
    check = ToolTraits.of(made).preflight
    assert check is not None
    planned = [PlannedCall(f"n{number}", inputs, workspace) for number, inputs in enumerate(calls)]
    return list(await check(planned))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "in").mkdir()
    return Workspace(tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize(
    "inputs",
    [
        {"workflow": LOADER},
        {"workflow": LOADER, "inputs": {"4.ckpt_name": "sd_xl_base_1.0.safetensors"}, "outputs": ["9"]},
        {"workflow": LOADER, "inputs": {"4": {"ckpt_name": "{{ vibe.description }}"}}},
        {"workflow": changed("3", "KSampler", seed=1, positive=["6", 0], sampler_name="euler", denoise=0.5)},
        {"workflow": changed("3", "KSampler", seed=1, positive=["6", 0], control_after_generate="fixed")},
        {"workflow": changed("3", "OldSampler", seed=1)},  # the server knows what to put in its place
        {"workflow": changed("5", "LoadImage", image="not/uploaded/yet.png", upload="image")},
        {"workflow": {**changed("5", "ResizeImage", input=["3", 0], resize_type="scale"), "7": LOADER["6"]}},
        {"workflow": changed("5", "ResizeImage", **{"input": ["3", 0], "resize_type": "a", "resize_type.width": 5})},
        {"workflow": {**LOADER, "20": {"class_type": "KSampler", "inputs": {}}}},  # leads to no output
        {"workflow": "{{ outputs.made.data }}"},
        {"workflow_file": "none.json"},
    ],
)
async def test_what_the_server_can_run_passes(workspace: Workspace, inputs: dict[str, Any]) -> None:
    with comfyui() as server:
        assert await preflight(server, workspace, inputs) == []
        assert server.submitted == []


@pytest.mark.parametrize(
    ("inputs", "problem"),
    [
        (
            {"workflow": changed("3", "KSamplr", seed=1)},
            "the server has no node class 'KSamplr', which node '3' of the workflow is; did you mean 'KSampler'?",
        ),
        (
            {"workflow": LOADER, "inputs": {"4.ckpt_name": "v1-5-prunned.safetensors"}},
            f"{LOADS} 'v1-5-prunned.safetensors'; did you mean 'v1-5-pruned.safetensors'?",
        ),
        (
            {"workflow": LOADER, "inputs": {"4.ckpt_name": "x"}, "outputs": ["9"]},
            f"{LOADS} 'x'; there are 'sd_xl_base_1.0.safetensors', 'v1-5-pruned.safetensors'",
        ),
        (
            {"workflow": changed("3", "KSampler", sed=1, positive=["6", 0])},
            "node '3' (KSampler) of the workflow has no input 'sed'; did you mean 'seed'?",
        ),
        (
            {"workflow": changed("3", "KSampler", seed=1, positive=["6", 0], denoize=0.5)},
            "node '3' (KSampler) of the workflow has no input 'denoize'; did you mean 'denoise'?",
        ),
        (
            {"workflow": changed("3", "KSampler", seed=1)},
            "node '3' (KSampler) of the workflow lacks the input 'positive'",
        ),
        (
            {"workflow": changed("5", "ResizeImage", input=["3", 0], resize_type="a", method="lancsoz")},
            "node '5' (ResizeImage) of the workflow: the server has no method 'lancsoz'; did you mean 'lanczos'?",
        ),
    ],
)
async def test_what_the_server_does_not_have_is_named(
    workspace: Workspace, inputs: dict[str, Any], problem: str
) -> None:
    (workspace.input_root / "flow.json").write_text(json.dumps(inputs["workflow"]))
    from_file = {**inputs, "workflow_file": "flow.json"}
    del from_file["workflow"]
    with comfyui() as server:
        found = await preflight(server, workspace, inputs, {"workflow": LOADER}, from_file)
    assert found == [f"node 'n0': {problem}", f"node 'n2': {problem}"]


async def test_an_output_that_nobody_names_may_be_left_out(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    workflow = {
        **LOADER,
        "5": {"class_type": "KSampler", "inputs": {"seed": 1}},
        "12": {"class_type": "PreviewImage", "inputs": {"images": ["5", 0]}},
    }
    with comfyui() as server:
        assert await preflight(server, workspace, {"workflow": workflow}) == []
        assert "n0: the server will leave out node 12: node '5' (KSampler) of the workflow lacks" in caplog.text
        assert await preflight(server, workspace, {"workflow": workflow, "outputs": ["9"]}) == []
        (problem,) = await preflight(server, workspace, {"workflow": workflow, "outputs": ["9", "12"]})
    assert "node '5' (KSampler) of the workflow lacks the input 'positive'" in problem


async def test_a_workflow_in_a_file_is_checked_as_one_in_the_plan(workspace: Workspace) -> None:
    (workspace.input_root / "flow.json").write_text(json.dumps({"nodes": [], "links": []}))
    with comfyui() as server:
        (problem,) = await preflight(server, workspace, {"workflow_file": "flow.json"})
        assert server.asked == []
    assert problem == "node 'n0': the workflow is in the editor's format; export it by 'Export (API)'"


async def test_each_class_is_asked_for_once_with_the_key(workspace: Workspace) -> None:
    with comfyui() as server:
        assert await preflight(server, workspace, {"workflow": LOADER}, {"workflow": LOADER}, key=lambda: KEY) == []
        assert sorted(server.asked) == sorted(f"/object_info/{node['class_type']}" for node in LOADER.values())
        assert server.keys == {f"Bearer {KEY}"}


def no_key() -> str:
    raise ToolError("the variable NAME holds no key")


@pytest.mark.parametrize(
    ("server", "config", "word"),
    [
        ({}, {"url": "http://127.0.0.1:1"}, "ConnectError|All connection attempts failed"),
        ({"hangs": True}, {}, "TimeoutError"),
        ({}, {"key": no_key}, "the variable NAME holds no key"),
    ],
)
async def test_a_server_that_does_not_answer_is_a_word_in_the_log(
    workspace: Workspace,
    server: dict[str, Any],
    config: dict[str, Any],
    word: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vibe_prefect.tools.comfyui.node_catalog.SECONDS", 2.0)
    with comfyui(**server) as there:
        asked: dict[str, Any] = {"url": there.url} | config
        made = comfyui_tool(ComfyServer(**asked))
        check = ToolTraits.of(made).preflight
        assert check is not None
        assert await check([PlannedCall("n", {"workflow": LOADER}, workspace)]) == []
        there.hangs = False
    (said,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert said.startswith("the workflows were not compared with the nodes of http://127.0.0.1:")
    assert any(one in said for one in word.split("|"))


SHAPES: list[dict[str, Any] | None] = [
    None,
    {name: {} for name in CLASSES},
    {name: {"input": None} for name in CLASSES},
    {name: {"input": {"required": {"seed": None, "text": [], "ckpt_name": [[]], "images": 5}}} for name in CLASSES},
]


@pytest.mark.parametrize("classes", SHAPES)
async def test_an_answer_of_another_shape_refuses_nothing_that_may_run(
    workspace: Workspace, classes: dict[str, Any] | None
) -> None:
    complete = {"seed": 1, "text": "a", "ckpt_name": "x", "images": ["6", 0]}
    workflow = {id: {**node, "inputs": {**node["inputs"], **complete}} for id, node in LOADER.items()}
    with comfyui(classes=classes) as server:
        assert await preflight(server, workspace, {"workflow": workflow}) == []
