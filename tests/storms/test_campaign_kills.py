"""A plan with a list, a choice among variations and an approval, killed at random moments and resumed."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deployed.api import PROGRAM, call, environment
from tests.paths import ROOT
from tests.storm_size import storm_size

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.storm]

KILLS = storm_size(10)
LINES = 25
"""Lines about nodes that a run prints before it waits for an answer."""

RUN = re.compile(r"^run +(\S+)", re.MULTILINE)


def prepared(folder: Path) -> Path:
    folder.mkdir()
    for name in ("campaign.yaml", "campaign_tools.py"):
        shutil.copy(ROOT / "tests" / "data" / name, folder)
    return folder


def killed(folder: Path, api: str, lines: int) -> str:
    """Kill a run once it has printed so many lines about its nodes; returns its name."""
    command = [PROGRAM, "run", "campaign.yaml", "--tools", "campaign_tools.py"]
    with subprocess.Popen(
        command, cwd=folder, env=environment(api, folder), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        told = ""
        for line in run.stdout:
            told += line
            if told.count("\n[") >= lines:
                break
        run.kill()
    named = RUN.search(told)
    assert named is not None, told
    return named[1]


def finished(folder: Path, api: str, name: str | None) -> str:
    """Run or resume until an answer is awaited, approve, and resume to the end; returns what was made."""
    begin = ["resume", name] if name else ["run", "campaign.yaml"]
    waiting = call(folder, api, *begin, "--tools", "campaign_tools.py")
    assert waiting.returncode == 4, waiting.stdout + waiting.stderr
    (asked,) = re.findall(r"vibe-prefect approve (\S+) approval", waiting.stdout)
    approved = call(folder, api, "approve", asked, "approval", "--by", "Ann")
    assert approved.returncode == 0, approved.stderr
    done = call(folder, api, "resume", asked, "--tools", "campaign_tools.py")
    assert done.returncode == 0, done.stdout + done.stderr
    (index,) = folder.glob("outputs/campaign/*/index.md")
    cards = sorted(path.name for path in index.parent.glob("*.png"))
    return "\n".join([index.read_text(), *cards, *(path.read_bytes().hex() for path in index.parent.glob("*.dusk.*"))])


def test_a_campaign_that_is_killed_anywhere_makes_the_same(prefect_server: str, tmp_path: Path) -> None:
    undisturbed = finished(prepared(tmp_path / "undisturbed"), prefect_server, None)
    moment = random.Random(14)
    for attempt in range(KILLS):
        folder = prepared(tmp_path / str(attempt))
        name = killed(folder, prefect_server, moment.randrange(1, LINES))
        assert finished(folder, prefect_server, name) == undisturbed, attempt
