"""One path, one owner: what two nodes of a run may not both write."""

from __future__ import annotations

import hashlib
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from vibe_prefect.errors import PathTakenError
from vibe_prefect.tools import Workspace
from vibe_prefect.tools.run_files import RunFiles, plain_path


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "out" / "real").mkdir(parents=True)
    (tmp_path / "out" / "link").symlink_to("real")
    return Workspace(tmp_path, tmp_path / "out")


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ("a.png", "a.png", "node 'x' writes the file 'a.png'"),
        ("a.png", "./a.png", "node 'x' writes the file 'a.png'"),
        ("a/b.png", "a//b.png", "node 'x' writes the file 'a/b.png'"),
        ("a.png", "x/../a.png", "node 'x' writes the file 'a.png'"),
        ("link/a.png", "real/a.png", "node 'x' writes the file 'real/a.png'"),
        ("Cover.png", "cover.PNG", "node 'x' writes the file 'Cover.png'"),
        ("straße.txt", "STRASSE.txt", "node 'x' writes the file 'straße.txt'"),
        ("\u00e9t\u00e9.md", "e\u0301te\u0301.md", "node 'x' writes the file '\u00e9t\u00e9.md'"),
        ("a", "a/b.txt", "node 'x' writes the file 'a'"),
        ("a/b.txt", "a", "node 'x' writes 'a/b.txt', so this is a folder"),
        ("a/b/c.txt", "A/b", "node 'x' writes 'a/b/c.txt', so this is a folder"),
    ],
)
def test_a_path_of_another_node_is_refused_before_anything_is_written(
    workspace: Workspace, first: str, second: str, reason: str
) -> None:
    x, y = workspace.for_node("x"), workspace.for_node("y")
    x.write(first, b"x")
    for take in (partial(y.claim, second), partial(y.write, second, b"y")):
        with pytest.raises(PathTakenError) as caught:
            take()
        assert str(caught.value).startswith(f"may not write {second!r}: {reason}; give each node a path of its own")
        assert (caught.value.owner, caught.value.retryable) == ("x", False)
    assert (workspace.output_root / first).read_bytes() == b"x"


@pytest.mark.parametrize(
    ("first", "second"), [("a.png", "b.png"), ("a/b.png", "a/c.png"), ("a.png", "a.png.json"), ("ab/c", "a")]
)
def test_paths_that_only_look_alike_have_two_owners(workspace: Workspace, first: str, second: str) -> None:
    workspace.for_node("x").write(first, b"x")
    workspace.for_node("y").write(second, b"y")
    assert [workspace.files.owner(path) for path in (first, second)] == ["x", "y"]


def test_a_node_may_write_its_own_file_again_and_has_several(workspace: Workspace) -> None:
    x = workspace.for_node("x")
    x.write("a.png", b"1")
    x.write("b.png", b"2")
    again = workspace.for_node("x")
    again.write("a.png", b"3")
    assert workspace.files.written_by("x") == ("a.png",)
    assert workspace.files.owner("b.png") == "x"


@pytest.mark.parametrize(
    ("path", "folder", "clashes"),
    [("shots", True, True), ("shots/more", True, False), ("shots/title.png", False, False), ("shots", False, True)],
)
def test_a_folder_is_filled_by_one_node(workspace: Workspace, path: str, folder: bool, clashes: bool) -> None:
    workspace.for_node("x").claim_folder("shots")
    view = workspace.for_node("y")
    take = view.claim_folder if folder else view.claim
    if not clashes:
        assert take(path) == workspace.output_root / path
        return
    with pytest.raises(PathTakenError, match="node 'x' "):
        take(path)


def test_a_file_stands_in_the_way_of_a_folder(workspace: Workspace) -> None:
    workspace.for_node("x").write("shots", b"x")
    with pytest.raises(PathTakenError, match="node 'x' writes the file 'shots'"):
        workspace.for_node("y").claim_folder("shots/more")


def test_a_path_that_was_given_up_is_free(workspace: Workspace) -> None:
    workspace.for_node("x").claim("a/b.png")
    workspace.files.release("x")
    workspace.for_node("y").claim("a")


def test_outside_a_run_nobody_owns_anything(workspace: Workspace) -> None:
    workspace.write("a.png", b"1")
    workspace.write("a.png", b"2")
    assert workspace.files.owner("a.png") is None


def test_a_file_is_read_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, target, opened = RunFiles(), tmp_path / "film.mp4", list[str]()
    target.write_bytes(b"one")
    digest = hashlib.file_digest

    def counting(file: Any, name: str) -> Any:
        opened.append(file.name)
        return digest(file, name)

    monkeypatch.setattr(hashlib, "file_digest", counting)
    assert {files.sha256(target) for _ in range(3)} == {hashlib.sha256(b"one").hexdigest()}
    assert opened == [str(target)]
    before = target.stat()
    target.write_bytes(b"two")
    os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert files.sha256(target) == hashlib.sha256(b"two").hexdigest()


@pytest.mark.parametrize(
    ("path", "plain"),
    [("a.png", "a.png"), ("./a//b/../c", "a/c"), ("", None), (".", None), ("..", None), ("../a", None), ("/a", None)],
)
def test_the_shortest_spelling_of_a_path(path: str, plain: str | None) -> None:
    assert plain_path(path) == plain


def test_what_another_process_claimed_is_taken_unless_somebody_has_it_by_now(tmp_path: Path) -> None:
    there, here = RunFiles(), RunFiles()
    assert there.claim("pictures", "a", folder=True) is None
    assert there.claim("a.txt", "a") is None
    assert here.take("a", there.of_node("a", tmp_path)) is None
    assert here.owner("a.txt") == "a"
    taken = RunFiles()
    assert taken.claim("pictures", "b", folder=True) is None
    clash = taken.take("a", there.of_node("a", tmp_path))
    assert clash is not None
    assert (clash[0], clash[1].owner) == ("pictures", "b")
