"""A canary key: after a run that completes and one that fails, it is in nothing that stays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command import PROGRAM
from tests.plans import node, plan
from tests.providers.openai_server import KEY, OpenAIServer
from vibe_prefect.testing import running_server
from vibe_prefect.tools.secrets import scrubbed

SETTING = "PREFECT_INTEGRATIONS_VIBE_PREFECT_LLM_"


def test_a_key_is_hidden_also_where_it_is_quoted_for_an_address() -> None:
    assert scrubbed("a sk-1/2+3= b sk-1%2F2%2B3%3D c", ["sk-1/2+3="]) == "a *** b *** c"
    assert scrubbed("nothing here", [None, ""]) == "nothing here"


def test_variables_named_like_secrets_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "abcdefgh12")
    monkeypatch.setenv("SHORT_KEY", "abc")
    assert scrubbed("abcdefgh12 abc") == "*** abc"


def files_with(needle: bytes, *folders: Path) -> list[Path]:
    """Files that hold a text; a database is read with its journal."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 2
    return [path for path in files if needle in path.read_bytes()]


@pytest.mark.server
@pytest.mark.slow
def test_a_canary_key_stays_nowhere(provider: OpenAIServer, tmp_path: Path) -> None:
    work, home = tmp_path / "work", tmp_path / "server"
    work.mkdir()
    (work / "plan.json").write_text(plan(node("a"), node("b", needs=["a"])).model_dump_json())
    settings = {
        f"{SETTING}URL": provider.base_url,
        f"{SETTING}KEY": "env:CANARY",
        f"{SETTING}INPUT_PRICE": "1",
        f"{SETTING}OUTPUT_PRICE": "2",
        "CANARY": KEY,
        "PREFECT_LOGGING_LEVEL": "DEBUG",
        "VIBE_PREFECT_DEBUG": "1",
        "DO_NOT_TRACK": "1",
    }
    said = b""
    with running_server(home) as api:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
        environment |= settings | {"PREFECT_API_URL": api, "PREFECT_HOME": str(work / "home")}
        for model, code in (("ok", 0), ("echo-key", 1)):
            done = subprocess.run(
                [sys.executable, PROGRAM, "run", "plan.json", "--json"],
                cwd=work,
                env=environment | {f"{SETTING}MODELS": f"openai:{model}"},
                capture_output=True,
                timeout=120,
                check=False,
            )
            assert done.returncode == code, done.stderr.decode()
            said += done.stdout + done.stderr
    assert provider.calls[-1].headers["authorization"] == f"Bearer {KEY}"
    assert b"Bearer ***" in said
    assert KEY.encode() not in said
    assert (home / "prefect.db").is_file()
    assert files_with(b"Bearer ***", home), "the failure's text is in the server's database"
    assert files_with(KEY.encode(), tmp_path) == []
