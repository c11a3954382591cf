"""`vibe-prefect model serve` without weights: what it refuses. With them, see `tests/storms/test_local_model.py`."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.cli.command import call
from vibe_prefect.cli.commands import serve_model
from vibe_prefect.errors import UsageError

GGUF = "PREFECT_INTEGRATIONS_VIBE_PREFECT_LOCAL_GGUF"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), f"no model: name its file with --gguf, or set {GGUF} to the path of a GGUF file"),
        (("--gguf", "none.gguf"), "no model: there is no file '{folder}/none.gguf'"),
        (("--gguf", "plan.yaml"), "no model: '{folder}/plan.yaml' is not a GGUF file"),
        (
            ("--gguf", "cut.gguf", "--port", "{taken}"),
            "port {taken} of 127.0.0.1 cannot be used (Address already in use)",
        ),
    ],
)
def test_serving_refuses_what_cannot_be_served(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    pytest.importorskip("xllamacpp")
    (tmp_path / "plan.yaml").write_text("id: plan")
    (tmp_path / "cut.gguf").write_bytes(b"GGUF")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        values = {"folder": tmp_path, "taken": listening.getsockname()[1]}
        done = call("model", "serve", *(word.format(**values) for word in arguments), cwd=tmp_path)
    assert done.code == 2
    assert message.format(**values) in " ".join(done.err.split())
    assert done.out == ""


def test_a_file_that_llama_cpp_cannot_load_is_a_clear_error(tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp")
    (tmp_path / "cut.gguf").write_bytes(b"GGUF")
    done = call("model", "serve", "--gguf", "cut.gguf", "--port", "0", cwd=tmp_path)
    assert done.code == 3
    assert "llama.cpp cannot serve" in done.err
    assert "the lines above say why" in done.err


def test_serving_without_the_extra_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_model, "MISSING", "pip install 'vibe-prefect[llm,local]'")
    with pytest.raises(UsageError, match=r"needs more than is installed: pip install 'vibe-prefect\[llm,local\]'"):
        serve_model.serve_model(Path("some.gguf"), 0, None, None)
