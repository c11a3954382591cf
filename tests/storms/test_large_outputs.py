"""Large outputs on their way through a plan: the memory of a run beside that of the same run with small ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.large_plans import Place

pytestmark = [pytest.mark.storm, pytest.mark.server]

TOOLS = '''
import hashlib
from typing import Any

from vibe_prefect.tools import ToolContext, tool


@tool(name="make_text", version="1")
def make_text(megabytes: int) -> dict[str, Any]:
    """Make a text."""
    return {"text": ("x" * 99 + "\\n") * (megabytes * 10_000)}


@tool(name="make_file", version="1")
def make_file(megabytes: int, context: ToolContext) -> dict[str, Any]:
    """Make a file."""
    size, target = megabytes * 1_000_000, context["workspace"].claim("large.bin")
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb+") as file:
        file.truncate(size)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return {"path": "large.bin", "mime": "application/octet-stream", "sha256": sha256, "bytes": size}


@tool(name="pass_on", version="1")
def pass_on(value: Any) -> Any:
    """Pass a value on."""
    return value
'''

MOST_COPIES = 5
"""Texts that a run may hold in memory for one that is passed on: that of its maker, that of the placement, and what a
node at work needs."""

TEXT, FILE = 60, 600
"""Megabytes of the text and of the file."""


def passing_on(name: str, text: int, file: int) -> dict[str, Any]:
    """Return a plan that makes a text and a file, and passes both on, also within a composite and at a placement."""

    def node(id: str, needs: str | None, **fields: Any) -> dict[str, Any]:
        what, megabytes = ("text", text) if id.startswith("text") else ("file", file)
        made = {"tool": f"make_{what}", "tool_inputs": {"megabytes": megabytes}}
        passed = {"tool": "pass_on", "tool_inputs": {"value": f"{{{{ outputs['{needs}'] }}}}"}}
        common = {"id": id, "type": "transform", "description": id, "dependencies": [needs] if needs else []}
        return {**common, "parameters": passed if needs else made, **fields}

    nodes: list[dict[str, Any]] = []
    for kind in ("text", "file"):
        away = node(f"{kind}-away", f"{kind}-first", policy={"run_on": "side"})
        group = {"id": f"{kind}-group", "type": "composite", "description": "group", "dependencies": [f"{kind}-away"]}
        nodes += [node(f"{kind}-made", None), node(f"{kind}-first", f"{kind}-made"), away]
        nodes += [{**group, "children": [node(f"{kind}-within", f"{kind}-away")]}]
        nodes += [node(f"{kind}-last", f"{kind}-within")]
    return {"id": name, "source_vibe": {"description": "x"}, "root_nodes": nodes}


def test_large_outputs_are_passed_on_without_copies_in_memory(
    prefect_server: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "PREFECT_INTEGRATIONS_VIBE_PREFECT_PLACEMENTS", json.dumps({"side": {"kind": "process", "workers": 1}})
    )
    (folder / "tools.py").write_text(TOOLS)
    place, peaks = Place(folder, prefect_server, 0), list[float]()
    for name, text, file in (("small", 1, 1), ("large", TEXT, FILE)):
        (folder / "plan.json").write_text(json.dumps(passing_on(name, text, file)))
        peaks.append(place.measured("run", "plan.json", "--quiet", "--tools", "tools.py")[1])
    assert peaks[1] - peaks[0] < TEXT * MOST_COPIES, f"{peaks} MB; a file takes none"
