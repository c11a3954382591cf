"""`write_file`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vibe_prefect.errors import OutsideRootError
from vibe_prefect.tools import ToolContext, ToolInputError, Workspace
from vibe_prefect.tools.files import write_file


@pytest.fixture
def context(tmp_path: Path) -> ToolContext:
    return ToolContext(workspace=Workspace(tmp_path / "in", tmp_path / "out"))


def content_of(path: Path) -> bytes:
    return path.read_bytes()


def is_empty(folder: Path) -> bool:
    return not any(folder.iterdir())


@pytest.mark.parametrize(
    ("path", "content", "written"),
    [
        ("a.txt", "", ""),
        ("a/b/c.md", "Zoë 🚀\n", "Zoë 🚀\n"),
        ("crlf.txt", "a\r\nb", "a\r\nb"),
        ("rtl.txt", "\u202eשם", "\u202eשם"),
        ("a.json", {"b": "ü", "a": [1]}, '{\n  "b": "ü",\n  "a": [\n    1\n  ]\n}\n'),
        ("list.json", [], "[]\n"),
    ],
)
async def test_text_and_data_are_written(
    context: ToolContext, tmp_path: Path, path: str, content: Any, written: str
) -> None:
    output = (await write_file.execute({"path": path, "content": content}, context)).output
    assert content_of(tmp_path / "out" / path) == written.encode()
    assert set(output) == {"path", "mime", "sha256", "bytes"}
    assert (output["path"], output["bytes"]) == (path, len(written.encode()))
    json.dumps(output)


async def test_a_file_that_exists_is_replaced(context: ToolContext, tmp_path: Path) -> None:
    for content in ("a longer first text", "second"):
        await write_file.execute({"path": "x.txt", "content": content}, context)
    assert content_of(tmp_path / "out" / "x.txt") == b"second"


async def test_the_media_type_can_be_given(context: ToolContext) -> None:
    inputs = {"path": "x", "content": "", "mime": "text/html; charset=utf-8"}
    assert (await write_file.execute(inputs, context)).output["mime"] == inputs["mime"]


@pytest.mark.parametrize("path", ["../x", "/etc/vibe", "a/../../x", "x\0y"])
async def test_a_path_outside_is_refused(context: ToolContext, tmp_path: Path, path: str) -> None:
    with pytest.raises(OutsideRootError, match="may not write"):
        await write_file.execute({"path": path, "content": "x"}, context)
    assert is_empty(tmp_path)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"path": "", "content": ""}, "path: "),
        ({"path": "posts/", "content": ""}, "path 'posts/' names a folder; name a file in it"),
        ({"path": "x", "content": "\ud800"}, "content"),
        ({"path": "x", "content": ["\ud800"]}, "content cannot be written as UTF-8"),
        ({"path": "x", "content": [float("nan")]}, "content is not JSON data: Out of range"),
        ({"path": "x", "content": {"a": {1}}}, "content is not JSON data: Object of type set"),
        ({"path": "x", "content": 5}, "content"),
        ({"path": "x", "content": "", "mime": "png"}, "mime: "),
    ],
)
async def test_inputs_it_cannot_write_are_named(
    context: ToolContext, tmp_path: Path, inputs: dict[str, Any], message: str
) -> None:
    with pytest.raises(ToolInputError) as caught:
        await write_file.execute(inputs, context)
    assert str(caught.value).startswith(f"write_file: {message}")
    assert is_empty(tmp_path)


async def test_data_nested_beyond_reason_is_an_error(context: ToolContext) -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ToolInputError, match="content"):
        await write_file.execute({"path": "x", "content": deep}, context)


async def test_a_file_in_the_place_of_a_folder_is_an_error(context: ToolContext) -> None:
    await write_file.execute({"path": "a", "content": ""}, context)
    with pytest.raises(OSError, match=r"/a'$"):
        await write_file.execute({"path": "a/b", "content": ""}, context)


async def test_without_a_workspace_it_says_so() -> None:
    with pytest.raises(ToolInputError, match="write_file needs a workspace"):
        await write_file.execute({"path": "a", "content": ""})
