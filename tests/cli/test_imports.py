"""What a command imports before it prints: the quick ones do without Prefect and other slow libraries."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command import TIMEOUT, environment
from tests.paths import ROOT

SLOW = ("prefect", "pydantic_ai", "PIL", "jsonschema", "httpx", "uvicorn", "fastapi", "sqlalchemy", "openai", "mutagen")
"""Libraries that take from 30 ms to seconds to import."""

UNUSED = (
    "vibe_prefect.cli.display.documents",
    "vibe_prefect.llm.toolset",
    "vibe_prefect.tools.checks.audio_check",
    "vibe_prefect.tools.fetch.http",
    "vibe_prefect.tools.media.openai_media",
)
"""Modules of the package that a command needs for plans that name their tools, or for JSON."""

PLAN = str(ROOT / "flows" / "plans" / "release_digest.yaml")
PROGRAM = """
import sys
from vibe_prefect.cli import main
try:
    main()
except SystemExit as exit:
    imported = sorted({name.split(".")[0] for name in sys.modules} & set(SLOW)) + sorted(set(sys.modules) & set(UNUSED))
    print(exit.code, *imported, file=sys.stderr)
"""
QUICK = [
    ("--help",),
    ("run", "--help"),
    ("validate", PLAN),
    ("show", PLAN),
    ("tools",),
    ("tools", "image_card"),
    ("schema",),
]


@pytest.mark.parametrize("arguments", QUICK, ids=" ".join)
def test_quick_commands_import_nothing_slow(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    unused = () if arguments[0] in ("tools", "schema") else UNUSED
    done = python(PROGRAM.replace("SLOW", repr(SLOW)).replace("UNUSED", repr(unused)), *arguments, folder=tmp_path)
    assert done.stderr.split() == ["0"]
    assert done.stdout


def test_a_run_imports_nothing_of_prefect_for_deployments(tmp_path: Path) -> None:
    done = python("import sys, vibe_prefect.executor; print(*sys.modules)", folder=tmp_path)
    assert "prefect.flows" in done.stdout.split()
    assert {"prefect.deployments.runner", "prefect.runner", "docker"}.isdisjoint(done.stdout.split())


def python(program: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=folder,
        env=environment(folder / "home"),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
