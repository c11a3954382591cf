"""The folders a run may touch."""

from __future__ import annotations

import hashlib
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from vibe_prefect.errors import OutsideRootError, ToolError
from vibe_prefect.tools import Workspace
from vibe_prefect.tools.workspace import replace_file


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Two roots, and a secret beside them that links lead to."""
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "secret").write_text("secret")
    for root in ("in", "out"):
        (tmp_path / root / "link").symlink_to(tmp_path / "secret")
        (tmp_path / root / "folder").symlink_to(tmp_path)
        (tmp_path / root / "circle").symlink_to("circle")
    return Workspace(tmp_path / "in", tmp_path / "out")


ESCAPES = [
    "..",
    "../secret",
    "a/../../secret",
    "/etc/passwd",
    "../out-of-it",
    "link",
    "folder/secret",
    "folder",
    "circle/x",
    "nul\0byte",
    "\ud800",
]


@pytest.mark.parametrize("path", ESCAPES)
@pytest.mark.parametrize("verb", ["read", "write"])
def test_a_path_that_leaves_its_root_is_refused(workspace: Workspace, path: str, verb: str) -> None:
    resolve: Callable[[str], Path] = workspace.input_path if verb == "read" else workspace.output_path
    if path == "circle/x" and _resolves(workspace, path):
        pytest.skip("this Python resolves a circle of links to itself")
    with pytest.raises(OutsideRootError, match=f"^may not {verb} "):
        resolve(path)


def _resolves(workspace: Workspace, path: str) -> bool:
    try:
        (workspace.input_root / path).resolve()
    except (OSError, RuntimeError):
        return False
    return True


def test_a_root_beside_one_of_the_same_beginning_is_outside(tmp_path: Path) -> None:
    with pytest.raises(OutsideRootError):
        Workspace(tmp_path / "in", tmp_path / "out").input_path("../in-other/x")


@pytest.mark.parametrize("path", ["a.txt", "a/b/../c.txt", "./a", "ü/x y.md", "..a"])
def test_a_path_inside_is_resolved(workspace: Workspace, path: str) -> None:
    root = workspace.input_root.resolve()
    assert root in workspace.input_path(path).parents


def test_a_link_that_stays_inside_may_be_followed(workspace: Workspace) -> None:
    (workspace.input_root / "real").write_text("x")
    (workspace.input_root / "inner").symlink_to("real")
    assert workspace.input_path("inner").read_text() == "x"


def test_an_absolute_path_inside_is_allowed(workspace: Workspace) -> None:
    inside = workspace.output_root.resolve() / "x.txt"
    assert workspace.output_path(str(inside)) == inside


def test_writing_returns_a_reference(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "in", tmp_path / "made" / "later")
    assert workspace.write("posts/a.png", b"abc") == {
        "path": "posts/a.png",
        "mime": "image/png",
        "sha256": hashlib.sha256(b"abc").hexdigest(),
        "bytes": 3,
    }
    assert (tmp_path / "made" / "later" / "posts" / "a.png").read_bytes() == b"abc"


@pytest.mark.parametrize(
    ("path", "mime", "expected"),
    [
        ("a.json", None, "application/json"),
        ("a.unheard-of", None, "application/octet-stream"),
        ("a", None, "application/octet-stream"),
        ("a.json", "text/x-mine", "text/x-mine"),
    ],
)
def test_the_media_type_is_given_or_told_by_the_name(
    workspace: Workspace, path: str, mime: str | None, expected: str
) -> None:
    assert workspace.write(path, b"", mime)["mime"] == expected


@pytest.mark.parametrize("path", ["", ".", "sub"])
def test_a_folder_is_not_written_over(workspace: Workspace, path: str) -> None:
    (workspace.output_root / "sub").mkdir()
    before = sorted(workspace.output_root.parent.iterdir())
    with pytest.raises(IsADirectoryError, match="it is a folder; name a file"):
        workspace.write(path, b"x")
    assert sorted(workspace.output_root.parent.iterdir()) == before


@pytest.mark.parametrize("path", ["sub", "x" * 256 + ".png", "\xe9" * 128 + "/a.png"])
def test_a_path_that_no_file_can_have_is_refused_before_work_is_put_into_it(workspace: Workspace, path: str) -> None:
    (workspace.output_root / "sub").mkdir()
    with pytest.raises((IsADirectoryError, ToolError), match=r"it is a folder|has more than 255 bytes"):
        workspace.claim(path)


def test_a_refused_write_touches_nothing(workspace: Workspace) -> None:
    with pytest.raises(OutsideRootError):
        workspace.write("link", b"overwritten")
    assert (workspace.output_root.parent / "secret").read_text() == "secret"


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    with target.open("rb") as reader:
        replace_file(target, b"new")
        assert reader.read() == b"old"
    assert target.read_bytes() == b"new"
    assert target.stat().st_mode & 0o777 == 0o644


def test_a_failed_write_leaves_no_file_behind(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    with pytest.raises(OSError, match="folder"):
        replace_file(target, b"new")
    assert list(tmp_path.iterdir()) == [target]


def test_writers_at_the_same_time_never_mix(workspace: Workspace) -> None:
    contents = [bytes([65 + number]) * 100_000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(partial(workspace.write, "same"), contents * 4))
    assert (workspace.output_root / "same").read_bytes() in contents
    assert not [path for path in workspace.output_root.iterdir() if path.name.startswith(".same")]


@pytest.mark.parametrize(("mask", "mode"), [(0o077, 0o600), (0o002, 0o664), (0o022, 0o644), (0o027, 0o640)])
def test_files_follow_the_umask_of_the_process(tmp_path: Path, mask: int, mode: int) -> None:
    script = (
        "import os, sys\n"
        f"os.umask({mask})\n"
        "from pathlib import Path\n"
        "from vibe_prefect.tools.workspace import replace_file\n"
        "replace_file(Path('made.txt'), b'x')\n"
        f"assert os.umask(0) == {mask}\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    assert stat.S_IMODE((tmp_path / "made.txt").stat().st_mode) == mode
