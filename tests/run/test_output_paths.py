"""Two nodes and one file: refused before the run where it can be seen, else at the write."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field

from tests.plans import node, plan
from vibe_prefect import (
    BaseTool,
    ExecutionResult,
    FileRef,
    NodePolicy,
    OutputFolder,
    OutputPath,
    PlanError,
    Simulate,
    ToolCategory,
    ToolContext,
    ToolRegistry,
    ToolResult,
    ToolSpec,
    WorkflowNode,
    compile_plan,
    default_registry,
    tool,
)
from vibe_prefect.plan.reading.plan_file import read_plan
from vibe_prefect.testing import run_offline
from vibe_prefect.tools.builtin.media_tools import MediaConfig, media_tools
from vibe_prefect.tools.comfyui.endpoint import ComfyServer
from vibe_prefect.tools.fetch.guard import FetchConfig
from vibe_prefect.tools.fetch.http import fetch_tool
from vibe_prefect.tools.media.openai_media import OpenAIEndpoint

NOWHERE = "127.0.0.1:9"
"""Where nobody answers: a tool that asked there would fail otherwise."""


def writes(id: str, path: str | None = None, *, needs: list[str] | None = None, **inputs: Any) -> WorkflowNode:
    given = {"content": f"of {id}", **({"path": path} if path is not None else {}), **inputs}
    return node(id, needs=needs, parameters={"tool": "write_file", "tool_inputs": given})


def uses(id: str, name: str, **inputs: Any) -> WorkflowNode:
    return node(id, parameters={"tool": name, "tool_inputs": inputs})


def problems(*nodes: WorkflowNode, tools: ToolRegistry | None = None) -> list[str]:
    try:
        compile_plan(plan(*nodes), tools=tools or default_registry())
    except PlanError as error:
        return [str(problem) for problem in error.problems]
    return []


async def offline(*nodes: WorkflowNode, folder: Path, tools: ToolRegistry | None = None) -> ExecutionResult:
    return await run_offline(plan(*nodes), tools, input_root=folder, output=folder / "out")


@tool(version="1")
def tile(context: ToolContext, target: OutputPath = "tiles/{{ node_id }}.bin") -> FileRef:
    """Write one file."""
    return context["workspace"].write(target, b"tile")  # pyright: ignore[reportTypedDictNotRequiredAccess]


@tool(version="1")
def album(context: ToolContext, folder: Annotated[OutputFolder, Field(min_length=1)], count: int = 2) -> list[FileRef]:
    """Fill a folder."""
    workspace = context["workspace"]  # pyright: ignore[reportTypedDictNotRequiredAccess]
    return [workspace.write(f"{folder}/{number}.bin", b"page") for number in range(count)]


@tool(version="1")
def quiet(context: ToolContext, to: str) -> FileRef:
    """Write a file, and say nowhere in its schema that it does."""
    return context["workspace"].write(to, to.encode())  # pyright: ignore[reportTypedDictNotRequiredAccess]


class Plain(BaseTool):
    """A tool with a schema of its own making."""

    version = "1"

    @property
    def spec(self) -> ToolSpec:
        target = {"type": "string", "format": "output-path"}
        schema = {"type": "object", "properties": {"to": {"anyOf": [target, {"type": "null"}]}}}
        return ToolSpec("plain", "Write.", ToolCategory.UTILITY, schema, {})

    async def execute(self, inputs: dict[str, Any], context: ToolContext | None = None) -> ToolResult:
        return ToolResult(True, None)


def own_tools() -> ToolRegistry:
    registry = default_registry()
    for one in (tile, album, quiet, Plain()):
        registry.register(one)
    return registry


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (
            writes("a", "post.md"),
            writes("b", "./post.md"),
            (
                "node 'b', parameters.tool_inputs.path: './post.md' is taken: node 'a' writes the file 'post.md'; "
                "name another path"
            ),
        ),
        (
            uses("a", "image_card", title="A", path="b.png"),
            uses("b", "image_card", title="B"),
            (
                "node 'b', parameters.tool_inputs.path: 'b.png' is taken: node 'a' writes the file 'b.png'; "
                "leave 'path' out for 'b.png'"
            ),
        ),
        (
            uses("a", "image_card", title="A", path="x.png"),
            uses("b", "image_card", title="B", path="x.png"),
            (
                "node 'b', parameters.tool_inputs.path: 'x.png' is taken: node 'a' writes the file 'x.png'; "
                "leave 'path' out for 'b.png'"
            ),
        ),
        (
            writes("a", "site"),
            writes("b", "site/index.html"),
            (
                "node 'b', parameters.tool_inputs.path: 'site/index.html' is taken: node 'a' writes the file 'site'; "
                "name another path"
            ),
        ),
        (
            uses("a", "album", folder="shots"),
            uses("b", "album", folder="shots/"),
            (
                "node 'b', parameters.tool_inputs.folder: 'shots/' is taken: node 'a' puts its files into 'shots'; "
                "name another path"
            ),
        ),
        (
            uses("a", "plain", to="x/y"),
            uses("b", "tile", target="X/Y"),
            (
                "node 'b', parameters.tool_inputs.target: 'X/Y' is taken: node 'a' writes the file 'x/y'; "
                "leave 'target' out for 'tiles/b.bin'"
            ),
        ),
    ],
)
def test_two_nodes_that_write_one_path_are_refused_with_both(
    first: WorkflowNode, second: WorkflowNode, message: str
) -> None:
    assert problems(first, second, tools=own_tools()) == [message]


def test_the_places_of_both_nodes_are_named() -> None:
    text = """id: p
source_vibe: {description: d}
root_nodes:
  - id: a
    type: transform
    description: d
    parameters: {tool: write_file, tool_inputs: {path: x.md, content: a}}
  - id: c
    type: composite
    description: d
    children:
      - id: b
        type: transform
        description: d
        parameters: {tool: write_file, tool_inputs: {path: x.md, content: b}}
"""
    loaded = read_plan("p.yaml", text)
    tools = default_registry()
    with pytest.raises(PlanError) as caught:
        compile_plan(loaded.plan, tools=tools, handled_types=["composite"], source=loaded.source)  # pyright: ignore[reportArgumentType]
    (problem,) = caught.value.problems
    assert str(problem.position).startswith("p.yaml:15:")
    assert "node 'a' writes the file 'x.md' (p.yaml:7:" in problem.message


def test_three_nodes_on_one_path_are_two_problems() -> None:
    found = problems(*(writes(id, "post.md") for id in "abc"))
    assert [problem.split(",")[0] for problem in found] == ["node 'b'", "node 'c'"]


@pytest.mark.parametrize(
    "nodes",
    [
        [writes("a", "a.md"), writes("b", "b.md")],
        [writes("a", "{{ node_id }}.md"), writes("b", "{{ node_id }}.md")],
        [uses("a", "image_card", title="A"), uses("b", "image_card", title="B")],
        [uses("a", "tile"), uses("b", "tile")],
        [uses("a", "album", folder="shots"), writes("b", "shots/title.md")],
        [uses("a", "plain", to=None), uses("b", "plain")],
        [writes("a", "../out-of-it"), writes("b", "/else/where"), writes("c", "")],
    ],
)
def test_what_does_not_meet_for_sure_is_not_refused_for_it(nodes: list[WorkflowNode]) -> None:
    assert not [problem for problem in problems(*nodes, tools=own_tools()) if "is taken" in problem]


def test_a_path_that_leaves_any_folder_is_refused_before_the_run() -> None:
    (found,) = problems(writes("a", "x/../../out-of-it"), writes("b", "/else/where"), writes("c", "{{ '..' }}/x"))
    assert "'x/../../out-of-it' lies outside the run's output folder" in found


def test_a_simulated_plan_writes_nothing_and_may_name_one_path_twice() -> None:
    assert compile_plan(plan(writes("a", "x"), writes("b", "x")), simulate=Simulate.ALL, tools=default_registry())


async def test_a_path_from_a_template_is_refused_at_the_write_once_and_for_good(tmp_path: Path) -> None:
    path = "{{ 'post' }}.md"
    second = writes("b", path, needs=["a"])
    second.policy = NodePolicy(retries=3)
    result = await offline(writes("a", path), second, folder=tmp_path)
    assert [result.node_results[id].status for id in "ab"] == ["completed", "failed"]
    assert result.node_results["b"].error == (
        "may not write 'post.md': node 'a' writes the file 'post.md'; "
        "give each node a path of its own, for example one with its id in it"
    )
    assert (tmp_path / "out/post.md").read_text() == "of a"


async def test_a_tool_that_declares_nothing_is_held_at_the_write(tmp_path: Path) -> None:
    nodes = [uses(id, "quiet", to="same.txt") for id in "abc"]
    result = await offline(*nodes, folder=tmp_path, tools=own_tools())
    assert sorted(one.status.value for one in result.node_results.values()) == ["completed", "failed", "failed"]


async def test_nodes_at_the_same_time_leave_as_many_files_as_they_completed(tmp_path: Path) -> None:
    nodes = [uses(f"n{number}", "quiet", to=f"{number % 5}.txt") for number in range(40)]
    result = await offline(*nodes, folder=tmp_path, tools=own_tools())
    done = [one for one in result.node_results.values() if one.status == "completed"]
    assert len(done) == len(list((tmp_path / "out").iterdir())) == 5


async def test_pictures_by_default_paths_have_a_file_each(tmp_path: Path) -> None:
    nodes = [uses(f"shot{number}", "image_card", title=f"{number}", width=64, height=64) for number in range(4)]
    result = await offline(*nodes, folder=tmp_path)
    assert result.status == "completed"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"shot{number}.png" for number in range(4)]


@pytest.mark.parametrize("name", ["image_generate", "speech_generate", "http_fetch", "comfyui_run"])
async def test_nothing_is_paid_for_a_file_that_another_node_has(tmp_path: Path, name: str) -> None:
    taken = {"image_generate": "x.png", "speech_generate": "x.mp3.provenance.json", "http_fetch": "x.bin"}
    asked: dict[str, dict[str, Any]] = {
        "image_generate": {"prompt": "A cat", "path": "{{ 'x' }}.png"},
        "speech_generate": {"text": "Hello", "path": "{{ 'x' }}.mp3"},
        "http_fetch": {"url": f"http://{NOWHERE}/x", "path": "{{ 'x' }}.bin"},
        "comfyui_run": {"workflow": {"1": {"class_type": "A", "inputs": {}}}, "folder": "{{ 'x' }}"},
    }
    second = uses("b", name, **asked[name])
    second.dependencies = ["a"]
    endpoint = OpenAIEndpoint(models=("m",), base_url=f"http://{NOWHERE}/v1")
    registry = own_tools()
    for one in media_tools(MediaConfig(endpoint, endpoint, comfyui=ComfyServer(f"http://{NOWHERE}"))):
        registry.register(one)
    registry.register(fetch_tool(FetchConfig(allow=(NOWHERE,), allow_private=(NOWHERE,))))
    result = await offline(writes("a", taken.get(name, "x")), second, folder=tmp_path, tools=registry)
    assert "node 'a' writes the file" in str(result.node_results["b"].error)
