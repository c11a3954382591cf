"""Canary keys: after runs that complete and runs that fail, they are in nothing that stays."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.cli.command import PROGRAM
from tests.plans import node, plan
from tests.providers.media_server import KEY as MEDIA_KEY
from tests.providers.media_server import MediaServer, media_server
from tests.providers.openai_server import KEY, OpenAIServer
from vibe_prefect import WorkflowPlan
from vibe_prefect.testing import running_server

PREFIX = "PREFECT_INTEGRATIONS_VIBE_PREFECT_"


def files_with(needle: bytes, *folders: Path) -> list[Path]:
    """Files that hold a text; a database is read with its journal."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 2
    return [path for path in files if needle in path.read_bytes()]


def plan_with(*, fails: bool) -> WorkflowPlan:
    """Texts and an image; where it fails, nothing hinges on the failing ones, so that each of them is asked."""
    cover = {"tool": "image_generate", "tool_inputs": {"prompt": "a cat"}}
    copy = {"tool": "write_file", "tool_inputs": {"path": "a.txt", "content": "{{ outputs.a.text }}"}}
    nodes = [node("a"), node("cover", parameters=cover)]
    nodes += [] if fails else [node("b", needs=["a"], parameters=copy)]
    return plan(*nodes, policy={"retries": 1, "retry_delay": 0})


def settings(place: str, provider: OpenAIServer, media: MediaServer) -> dict[str, str]:
    """Settings for a run whose keys are variables or Secret blocks, with everything logged that can be."""
    text, image = {"env": ("env:CANARY_A", "env:CANARY_B"), "block": ("secret:canary-a", "secret:canary-b")}[place]
    return {
        f"{PREFIX}LLM_URL": provider.base_url,
        f"{PREFIX}LLM_KEY": text,
        f"{PREFIX}LLM_INPUT_PRICE": "1",
        f"{PREFIX}LLM_OUTPUT_PRICE": "2",
        f"{PREFIX}MEDIA_IMAGES_MODELS": "m",
        f"{PREFIX}MEDIA_IMAGES_URL": media.base_url,
        f"{PREFIX}MEDIA_IMAGES_KEY": image,
        "PREFECT_LOGGING_LEVEL": "DEBUG",
        "VIBE_PREFECT_DEBUG": "1",
        "DO_NOT_TRACK": "1",
        **({"CANARY_A": KEY, "CANARY_B": MEDIA_KEY} if place == "env" else {}),
    }


SAVE = """
import json, sys
from prefect.blocks.system import Secret
for name, key in json.load(sys.stdin).items():
    Secret(value=key).save(name)
"""


def save_blocks(environment: dict[str, str]) -> None:
    keys = json.dumps({"canary-a": KEY, "canary-b": MEDIA_KEY})
    subprocess.run([sys.executable, "-c", SAVE], input=keys, text=True, env=environment, timeout=300, check=True)


def artifacts(api: str) -> str:
    return httpx.post(f"{api}/artifacts/filter", json={"limit": 200}).text


@pytest.mark.server
@pytest.mark.slow
def test_canary_keys_stay_nowhere(provider: OpenAIServer, tmp_path: Path) -> None:
    """Keys for texts and for images, from variables and from Secret blocks, of runs that complete and that fail.

    What is searched: the server's database and log, records, reports, artifacts, pages, files, and what is printed.
    """
    work, home = tmp_path / "work", tmp_path / "server"
    work.mkdir()
    said = b""
    with running_server(home) as api, media_server() as media:
        bare = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "OPENAI"))}
        bare |= {"PREFECT_API_URL": api, "PREFECT_HOME": str(work / "home")}
        save_blocks(bare)
        for place, model, fails in (("env", "ok", False), ("block", "echo-key", True)):
            media.echoes = fails
            media.next = None
            (work / "plan.json").write_text(plan_with(fails=fails).model_dump_json())
            page = f"{place}-{model}.html"
            done = subprocess.run(
                [sys.executable, PROGRAM, "run", "plan.json", "--json", "--report", page],
                cwd=work,
                env=bare | settings(place, provider, media) | {f"{PREFIX}LLM_MODELS": f"openai:{model}"},
                capture_output=True,
                timeout=300,
                check=False,
            )
            assert done.returncode == int(fails), done.stderr.decode()
            assert provider.calls[-1].headers["authorization"] == f"Bearer {KEY}"
            assert media.keys[-1] == f"Bearer {MEDIA_KEY}"
            assert ("Bearer ***" in (work / page).read_text()) == fails
            assert done.stdout.count(b"Bearer ***") >= 2 * fails
            said += done.stdout + done.stderr
        told = artifacts(api)
        assert "Authorization: Bearer" in told, "the failures' texts are in artifacts"
    assert (home / "prefect.db").is_file()
    assert files_with(b"Bearer ***", home), "the failures' texts are in the server's database"
    assert list((work / "home").rglob("report-*.json")), "reports are beside the records"
    for key in (KEY, MEDIA_KEY):
        assert key.encode() not in said
        assert key not in told
        assert files_with(key.encode(), tmp_path) == []
        assert files_with(key[:12].encode(), tmp_path) == []
