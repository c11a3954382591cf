"""Every code block in the README and the docs does what it says."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun

from tests.deployed.api import stop
from tests.paths import ROOT
from tests.programs import report_missing
from vibe_prefect import compile_plan, load_plan
from vibe_prefect.settings.package import VibePrefectSettings
from vibe_prefect.testing import ScriptedModel, free_port
from vibe_prefect.testing.server import used_server

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BOUND = 300.0
WEIGHTS = ".models/SmolLM2-135M-Instruct.Q4_1.gguf"
WORKERS = ("prefect worker start", "vibe-prefect worker start")
READY = {
    "vibe-prefect serve": "serving",
    "vibe-prefect model serve": "OpenAI's protocol",
    "vibe-prefect server start": "Check out the dashboard",
}
"""What a command that stays until it is stopped says once it is ready."""


@dataclass(frozen=True)
class Block:
    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks() -> Iterator[Block]:
    for page in PAGES:
        text = page.read_text()
        for match in FENCE.finditer(text):
            line = text[: match.start()].count("\n") + 2
            yield Block(page.name, line, match[1], match[2])


def of(language: str) -> list[Any]:
    return [pytest.param(block, id=str(block)) for block in blocks() if block.language == language]


def environment(api: str, home: Path) -> dict[str, str]:
    binaries = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": binaries, "PREFECT_API_URL": api, "PREFECT_HOME": str(home), "COLUMNS": "200"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """A server of the pages' own: their commands mean its newest run, and make what is not to be there yet."""
    with used_server(tmp_path_factory.mktemp("docs")) as api:
        yield api


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with what the pages expect to find: this project's files, and the README's plan."""
    folder = tmp_path / "project"
    folder.mkdir()
    for name in ("flows", "CHANGELOG.md", "CONTRIBUTING.md", "prefect.yaml"):
        source = ROOT / name
        shutil.copytree(source, folder / name) if source.is_dir() else shutil.copy(source, folder / name)
    plan = next(block for block in blocks() if block.language == "yaml" and block.page == "README.md")
    (folder / "plan.yaml").write_text(plan.text)
    (folder / ".venv").symlink_to(sys.prefix)  # where `make` puts it
    (folder / ".models").symlink_to(ROOT / ".models")
    return folder


def test_every_block_is_of_a_kind_that_is_run() -> None:
    kinds = {block.language for block in blocks()}
    assert kinds == {"sh", "yaml", "python", "toml"}


def test_every_link_to_a_file_leads_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("block", of("yaml"))
def test_a_yaml_block_is_a_plan_that_compiles(block: Block, folder: Path) -> None:
    shutil.copytree(ROOT / "flows" / "launch", folder, dirs_exist_ok=True)  # parts that a plan may name
    path = folder / "plan.yaml"
    path.write_text(block.text)
    loaded = load_plan(path)
    assert compile_plan(loaded.plan, source=loaded.source, tools=ScriptedModel().registry).nodes


@pytest.mark.parametrize("block", of("toml"))
def test_a_toml_block_holds_settings(block: Block) -> None:
    settings = tomllib.loads(block.text)["integrations"]["vibe_prefect"]
    assert VibePrefectSettings(**settings).model_dump(include=set(settings), exclude_unset=True)


NAMED_IN_CODE = re.compile(r"`(vibe_prefect/[\w/]+\.py)::(\w+)`")


def defined_in(path: Path) -> set[str]:
    """The names that a module defines at its top."""
    body = ast.parse(path.read_text()).body
    assigned = {
        target.id
        for node in body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    named = (node for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef))
    return assigned | {node.name for node in named}


def test_architecture_names_code_that_there_is() -> None:
    named = NAMED_IN_CODE.findall((ROOT / "docs" / "architecture.md").read_text())
    assert len(named) > 30
    assert [f"{path}::{name}" for path, name in named if name not in defined_in(ROOT / path)] == []


def test_glossary_names_code_that_there_is() -> None:
    known = {name for path in (ROOT / "vibe_prefect").rglob("*.py") for name in defined_in(path)}
    named = set(re.findall(r"\(`(\w+)`(?:, `(\w+)`)?\)", (ROOT / "docs" / "glossary.md").read_text()))
    names = {name for pair in named for name in pair if name}
    assert len(names) > 8
    assert names - known == set()


PUBLIC_MODULES = {"vibe_prefect", "vibe_prefect.operations", "vibe_prefect.testing"}


def imported_modules(source: str) -> Iterator[str]:
    """The modules of this package that a text in Python imports from."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize(
    "source",
    [pytest.param(block.values[0].text, id=str(block.values[0])) for block in of("python")]
    + [pytest.param(path.read_text(), id=path.name) for path in sorted((ROOT / "flows").rglob("*.py"))],
)
def test_docs_and_flows_import_public_modules_alone(source: str) -> None:
    ours = {module for module in imported_modules(source) if module.split(".")[0] == "vibe_prefect"}
    assert ours <= PUBLIC_MODULES


RUN_BLOCKS = """
import json, sys
for name, line, text in json.load(sys.stdin):
    exec(compile("\\n" * (line - 1) + text, name, "exec"), {"__name__": "__main__"})
"""


@pytest.mark.server
@pytest.mark.parametrize("page", sorted({block.page for block in blocks() if block.language == "python"}))
def test_the_python_blocks_of_a_page_run(page: str, server: str, project: Path) -> None:
    """One after another in one process, none with the names of another."""
    found = [
        (block.page, block.line, block.text) for block in blocks() if (block.page, block.language) == (page, "python")
    ]
    ran = subprocess.run(
        [sys.executable, "-c", RUN_BLOCKS],
        input=json.dumps(found),
        cwd=project,
        env=environment(server, project / "home"),
        capture_output=True,
        text=True,
        timeout=BOUND,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


@pytest.mark.server
@pytest.mark.parametrize("block", of("sh"))
def test_the_commands_of_a_block_run(block: Block, server: str, project: Path) -> None:
    commands = block.text.strip().splitlines()
    if all(command.startswith("make ") for command in commands):
        assert_ci_runs(commands)
        return
    if WEIGHTS in block.text and not (ROOT / WEIGHTS).is_file():
        report_missing(f"file {WEIGHTS}", "make model", "fetches it")
    env = environment(server, project / "home")
    stays = [command for command in commands if command.startswith((*WORKERS, *READY))]
    for command in commands:
        if command not in stays:
            ran = subprocess.run(
                command, shell=True, cwd=project, env=env, capture_output=True, text=True, timeout=BOUND, check=False
            )
            assert ran.returncode == 0, f"{command}\n{ran.stdout}{ran.stderr}"
    for command in stays:
        with staying(command, project, env) as log:
            if command.startswith(WORKERS):
                assert_newest_run_completes(log)
            else:
                await_text(log, next(READY[name] for name in READY if command.startswith(name)))


def assert_ci_runs(commands: list[str]) -> None:
    """`make` makes an environment of its own, so what it does is left to CI, which calls it in a fresh clone."""
    script = (ROOT / ".ci" / "run").read_text()
    for command in commands:
        target = command.removeprefix("make ")
        assert any(f"{runner} {target}\n" in script for runner in ("make --no-print-directory", "tests"))


@contextmanager
def staying(command: str, project: Path, env: dict[str, str]) -> Generator[Path]:
    """Run a command that stays, until the block ends; gives its log."""
    log = project / "staying.log"
    if command.startswith(("vibe-prefect server start", "vibe-prefect model serve")):
        command += f" --port {free_port()}"
    with log.open("wb") as output:
        started = subprocess.Popen(
            f"exec {command}", shell=True, cwd=project, env=env, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield log
        assert started.poll() is None, log.read_text()
    finally:
        stop(started)


def assert_newest_run_completes(log: Path) -> None:
    run = await_end_of_newest_run()
    assert run.state is not None
    assert run.state.is_completed(), f"{run.state.message}\n{log.read_text()}"


def await_text(log: Path, text: str) -> None:
    end = time.monotonic() + BOUND
    while text not in log.read_text(errors="replace"):
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.1)


def created(run: FlowRun) -> datetime:
    assert run.created is not None
    return run.created


def await_end_of_newest_run() -> FlowRun:
    """Return the newest flow run of a deployment once it has ended."""
    end = time.monotonic() + BOUND
    with get_client(sync_client=True) as client:
        while True:
            runs = [run for run in client.read_flow_runs(limit=200) if run.deployment_id is not None]
            newest = max(runs, key=created)
            if newest.state is not None and newest.state.is_final():
                return newest
            assert time.monotonic() < end, f"the run is still {newest.state_name} after {BOUND:g} s"
            time.sleep(0.2)
