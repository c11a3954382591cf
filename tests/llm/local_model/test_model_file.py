from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

import pytest

from vibe_prefect.errors import ToolError
from vibe_prefect.llm.local_model.model_file import local_model
from vibe_prefect.llm.local_model.state import state_folder


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for what processes share, apart from the machine's."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return state_folder()


def weights(path: Path, content: bytes = b"GGUF one") -> str:
    path.write_bytes(content)
    return str(path)


def test_another_file_is_another_model_and_a_copy_is_the_same_one(tmp_path: Path) -> None:
    first = local_model(weights(tmp_path / "Tiny model.gguf")).name
    assert first == f"local:Tiny-model-{sha256(b'GGUF one').hexdigest()[:12]}"
    (tmp_path / "copies").mkdir()
    assert local_model(weights(tmp_path / "copies" / "Tiny model.gguf")).name == first
    assert local_model(weights(tmp_path / "Tiny model.gguf", b"GGUF two")).name != first
    assert local_model(weights(tmp_path / "Other.gguf")).name != first


def test_the_sum_of_a_file_is_kept_until_the_file_changes(tmp_path: Path, state: Path) -> None:
    path = weights(tmp_path / "a.gguf")
    name = local_model(path).name
    (sum_file,) = state.glob("sum-*")
    sum_file.write_text("0" * 64)
    assert local_model(path).name == "local:a-000000000000"
    sum_file.write_text("torn")
    assert local_model(path).name == name
    os.utime(path, (1, 1))
    assert local_model(path).name == name
    assert len(list(state.glob("sum-*"))) == 2


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("none.gguf", None, "there is no file '{path}'"),
        ("plan.gguf", b"id: plan", "'{path}' is not a GGUF file"),
        ("folder.gguf", b"", "'{path}' cannot be read: Is a directory"),
    ],
)
def test_what_cannot_be_a_model_is_a_lack_and_no_error(
    tmp_path: Path, name: str, content: bytes | None, problem: str
) -> None:
    path = tmp_path / name
    if content:
        path.write_bytes(content)
    elif content is not None:
        path.mkdir()
    model = local_model(str(path))
    assert model.name == f"local:{path.stem}"
    assert model.lack == (
        "set PREFECT_INTEGRATIONS_VIBE_PREFECT_LOCAL_GGUF to the path of a GGUF file: " + problem.format(path=path)
    )


def test_a_model_has_half_of_the_processors_and_at_least_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for processors, threads in ((1, 1), (2, 1), (8, 4), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda count=processors: count)
        assert local_model(None).threads == threads
    assert local_model(None, threads=3).threads == 3


def test_a_folder_that_others_can_write_to_is_refused(tmp_path: Path, state: Path) -> None:
    state.chmod(0o777)
    with pytest.raises(ToolError, match="is not one that only you can write to"):
        state_folder()
    state.rmdir()
    state.symlink_to(tmp_path)
    with pytest.raises(ToolError, match="is not one that only you can write to"):
        state_folder()
