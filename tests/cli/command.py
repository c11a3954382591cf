"""The command line as users start it: a process of its own, with an environment that the test controls."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import jsonschema

from tests.cli.prepared import run_prepared
from tests.paths import DATA
from vibe_prefect.cli.display.documents import outputs_schema

PROGRAM = str(Path(sys.executable).with_name("vibe-prefect"))
TRAILER = str(DATA / "sci-fi-trailer.json")
FEATURE = str(DATA / "web-feature.json")
MIXED = str(DATA / "mixed-55.json")
TIMEOUT = 300.0
NO_BACKGROUND = {"PREFECT_INTEGRATIONS_VIBE_PREFECT_SERVER_MINUTES": "0"}
"""A server that a command starts ends with it."""

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")
"""What must never reach a pipe; the newline may."""


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def json(self) -> Any:
        """The document on standard output; one that states its kind fits the schema of `schema --output`."""
        document = json.loads(self.out)
        if isinstance(document, dict) and "kind" in document:
            output_schema().validate(document)
        return cast("Any", document)


@cache
def output_schema() -> Any:
    """The validator for the documents of all commands."""
    schema = outputs_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def environment(home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without anything of Prefect's, and with a Prefect home of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "VIBE_PREFECT"))}
    return kept | {"PREFECT_HOME": str(home), "COLUMNS": "100", **NO_BACKGROUND} | dict(extra or {})


def call(*arguments: str, cwd: Path, extra: Mapping[str, str] | None = None) -> Outcome:
    env = environment(cwd / "prefect-home", extra)
    done = run_prepared(PROGRAM, arguments, cwd, env, TIMEOUT) or subprocess.run(
        [PROGRAM, *arguments], cwd=cwd, env=env, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def on(server: str, *arguments: str, cwd: Path) -> Outcome:
    """Call the program with a Prefect server of the test's."""
    return call(*arguments, cwd=cwd, extra={"PREFECT_API_URL": server})


def node(id: str, kind: str = "generate", **fields: Any) -> dict[str, Any]:
    return {"id": id, "type": kind, "description": f"Do {id}", **fields}


def check(id: str, text: str, **fields: Any) -> dict[str, Any]:
    """A node whose real tool passes or fails: the text needs three words."""
    inputs = {"text": text, "min_words": 3}
    return node(id, "validate", parameters={"tool": "check_text", "tool_inputs": inputs}, **fields)


def write_plan(folder: Path, nodes: Sequence[Mapping[str, Any]], id: str = "plan", vibe: str = "A wish") -> str:
    path = folder / f"{id}.json"
    path.write_text(json.dumps({"id": id, "source_vibe": {"description": vibe}, "root_nodes": nodes}), encoding="utf-8")
    return str(path)


def half(folder: Path) -> str:
    """A plan of which two of four nodes complete; the first writes a file."""
    hello = {"tool": "write_file", "tool_inputs": {"path": "a hello.txt", "content": "Hello"}}
    nodes = [
        node("writes", parameters=hello),
        check("good", "one two three"),
        check("bad", "short"),
        check("after", "one two three", dependencies=["bad"]),
    ]
    return write_plan(folder, nodes, "half")


def install_tools(site: Path, module: str, source: str, names: Sequence[str]) -> dict[str, str]:
    """Install a module of tools into a folder.

    Args:
        site: The folder, for `PYTHONPATH`.
        module: The module's name.
        source: Its text.
        names: Functions of it that are tools.

    Returns:
        The environment variables with which the command line finds them.
    """
    info = site / f"{module}-1.dist-info"
    info.mkdir(parents=True)
    (site / f"{module}.py").write_text(source)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1\n")
    entries = (f"{name} = {module}:{name}" for name in names)
    (info / "entry_points.txt").write_text("\n".join(["[vibe_prefect.tools]", *entries]))
    return {"PYTHONPATH": str(site)}
