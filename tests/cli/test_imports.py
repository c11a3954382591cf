"""What a command imports before it prints: the quick ones do without Prefect and other slow libraries."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.cli.command import TIMEOUT, environment
from tests.paths import ROOT

SLOW = ("prefect", "pydantic_ai", "PIL", "jsonschema", "httpx", "uvicorn", "fastapi", "sqlalchemy", "openai", "mutagen")
"""Libraries that take from 30 ms to seconds to import."""

OF_NODES = ("anyio", "asyncio", "regex", "ssl")
"""Modules that tools need when they work."""

OF_WORK = (*OF_NODES, "vibe_prefect.templates.bounded_calls")
"""Modules that nodes work with: reading a plan and describing a tool do without."""

UNUSED = (
    *OF_WORK,
    "vibe_prefect.cli.answering.answer_app",
    "vibe_prefect.cli.deploying.deploy_app",
    "vibe_prefect.cli.display.documents",
    "vibe_prefect.llm.toolset",
    "vibe_prefect.tools.checks.audio_check",
    "vibe_prefect.tools.fetch.http",
    "vibe_prefect.tools.media.openai_media",
)
"""Modules of the package that a command needs for plans that name their tools, for JSON, or for another command."""

OF_PLANS = ("jinja2", "ruamel.yaml", "vibe_prefect.core.models", "vibe_prefect.tools.base", "vibe_prefect.plan")
"""Modules that a plan needs, and its first line does without."""

UNUSED_BY: Mapping[str, tuple[str, ...]] = {
    "--help": ("jinja2", "pydantic", "ruamel.yaml", "vibe_prefect.run.run_options"),
    "validate": (*UNUSED, "rich", "vibe_prefect.run.run_options"),
    "show": (*UNUSED, "rich.console", "vibe_prefect.run.run_options"),
    "tools": (*OF_WORK, "jinja2", "rich.console", "ruamel.yaml"),
    "schema": (),
}
"""Modules that a command does without, besides the slow libraries; any other command, those of `UNUSED`."""

PLAN = str(ROOT / "flows" / "plans" / "release_digest.yaml")
PLAIN = """
id: plain
source_vibe: {description: Two texts}
root_nodes:
  - {id: a, type: transform, description: One, parameters: {tool: combine, tool_inputs: {parts: [x]}}}
  - {id: b, type: transform, description: Two, dependencies: [a],
     parameters: {tool: combine, tool_inputs: {parts: ["{{ outputs.a.text }}"]}}}
"""
PROGRAM = """
import sys
from vibe_prefect.cli import main
try:
    main()
except SystemExit as exit:
    imported = sorted({name.split(".")[0] for name in sys.modules} & set(SLOW)) + sorted(set(sys.modules) & set(UNUSED))
    print(exit.code, *imported, file=sys.stderr)
"""
FIRST_LINE = """
import sys
from vibe_prefect.cli import main
class Output:
    def write(self, text):
        print(text, *sorted(set(sys.modules) & set(SLOW)), file=sys.stderr)
        sys.exit(0)
    def flush(self): pass
    def isatty(self): return False
sys.stdout = Output()
main()
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
    unused = UNUSED_BY.get(arguments[0], UNUSED)
    if arguments[1:] and arguments[0] == "tools":
        unused = OF_WORK  # the example is YAML, and its lines may be broken
    done = python(PROGRAM.replace("SLOW", repr(SLOW)).replace("UNUSED", repr(unused)), *arguments, folder=tmp_path)
    assert done.stderr.split() == ["0"]
    assert done.stdout


def test_a_plan_whose_templates_only_name_values_is_checked_without_jinja(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(PLAIN)
    done = python(
        PROGRAM.replace("SLOW", "()").replace("UNUSED", "('jinja2',)"), "validate", "plan.yaml", folder=tmp_path
    )
    assert (done.stderr.split(), "valid" in done.stdout) == (["0"], True)


def test_a_run_names_its_plan_before_it_reads_it(tmp_path: Path) -> None:
    done = python(FIRST_LINE.replace("SLOW", repr((*SLOW, *OF_PLANS))), "run", PLAN, folder=tmp_path)
    assert done.stderr.split() == ["plan", PLAN]


def test_importing_the_package_imports_nothing_but_python(tmp_path: Path) -> None:
    done = python("import sys, vibe_prefect; print(*sys.modules)", folder=tmp_path)
    imported = {name.split(".")[0] for name in done.stdout.split()}
    assert imported.isdisjoint({*SLOW, *OF_PLANS, "pydantic", "rich", "cyclopts", "asyncio"})


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
