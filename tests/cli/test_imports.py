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

PLAN = str(ROOT / "flows" / "plans" / "release_digest.yaml")
PROGRAM = """
import sys
from vibe_prefect.cli import main
try:
    main()
except SystemExit as exit:
    imported = sorted({name.split(".")[0] for name in sys.modules} & set(SLOW))
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
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("SLOW", repr(SLOW)), *arguments],
        cwd=tmp_path,
        env=environment(tmp_path / "home"),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.stderr.split() == ["0"]
    assert done.stdout
