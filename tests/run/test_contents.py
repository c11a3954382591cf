"""Contents that nodes read from outside: hashes, and what becomes of keys."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from vibe_prefect import CompiledPlan, ToolRegistry, WorkflowPlan, compile_plan, default_registry, tool
from vibe_prefect.run import contents
from vibe_prefect.run.contents import read_contents
from vibe_prefect.tools import Workspace


def compiled(*nodes: dict[str, Any], tools: ToolRegistry | None = None, policy: Any = None) -> CompiledPlan:
    data = {"id": "p", "source_vibe": {"description": "x"}, "root_nodes": list(nodes), "policy": policy or {}}
    data["inputs"] = {"name": {"type": "string", "default": "a.md"}}
    return compile_plan(WorkflowPlan.model_validate(data), tools=tools)


def reads(id: str, path: str, *needs: str, fresh: str | None = "content", **inputs: Any) -> dict[str, Any]:
    parameters = {"tool": "read_text", "tool_inputs": {"path": path, **inputs}}
    policy = {"fresh": fresh} if fresh else {}
    return {
        "id": id,
        "type": "analyze",
        "description": id,
        "dependencies": needs,
        "parameters": parameters,
        "policy": policy,
    }


async def hash_of(plan: CompiledPlan, id: str = "a", tools: ToolRegistry | None = None) -> str:
    return (await read_contents(plan, tools or default_registry(), Workspace(Path(), Path("out")))).hashes[id]


async def test_hash_follows_names_and_bytes_of_the_files(folder: Path) -> None:
    (folder / "in").mkdir()
    (folder / "in" / "a.md").write_text("1")
    plan = compiled(reads("a", "in"))
    first = await hash_of(plan)
    assert await hash_of(plan) == first
    (folder / "in" / "a.md").write_text("2")
    second = await hash_of(plan)
    (folder / "in" / "a.md").rename(folder / "in" / "b.md")
    third = await hash_of(plan)
    (folder / "in" / "c.md").write_text("")
    assert len({first, second, third, await hash_of(plan)}) == 4


async def test_an_input_of_the_run_names_what_is_read(folder: Path) -> None:
    (folder / "a.md").write_text("a")
    (folder / "b.md").write_text("b")
    plan = compiled(reads("a", "{{ inputs.name }}"))
    assert await hash_of(plan) != await hash_of(plan.with_inputs({"name": "b.md"}))


def test_content_enters_the_keys_of_its_node_and_of_what_depends_on_it() -> None:
    plan = compiled(reads("a", "a.md"), reads("b", "b.md", "a", fresh=None), reads("c", "c.md", fresh=None))
    plain = compiled(*(reads(id, f"{id}.md", *needs, fresh=None) for id, needs in [("a", ()), ("b", ["a"]), ("c", ())]))
    assert {id: node.key for id, node in plan.nodes.items()} == {id: node.key for id, node in plain.nodes.items()}
    known = plan.with_contents({"a": "1", "c": "not asked for"})
    assert [id for id in plan.nodes if plan.nodes[id].key != known.nodes[id].key] == ["a", "b"]
    assert known.with_known_inputs({}).nodes["a"].key == known.nodes["a"].key


def test_a_plan_asks_those_nodes_that_can_say_it() -> None:
    parameters = {"tool": "template_fill", "tool_inputs": {"template": "x"}}
    fill = {"id": "f", "type": "generate", "description": "f", "parameters": parameters}
    plan = compiled(
        reads("a", "a.md", fresh=None),
        fill,
        reads("b", "{{ outputs.f.text }}", "f", fresh=None),
        policy={"fresh": "content"},
    )
    assert plan.fresh_nodes == ("a",)


async def test_unreadable_content_has_another_hash_each_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def forever(_inputs: Mapping[str, Any], _context: Any) -> str:
        await asyncio.Event().wait()
        raise AssertionError

    async def exits(_inputs: Mapping[str, Any], _context: Any) -> str:
        raise SystemExit(3)

    @tool(content_hash=forever)
    def slow() -> str:
        return ""

    @tool(content_hash=exits)
    def gone() -> str:
        return ""

    tools = default_registry()
    tools.register(slow)
    tools.register(gone)
    names = ("slow", "gone")
    nodes = [reads("none", "none.md"), *(reads(name, "x") | {"parameters": {"tool": name}} for name in names)]
    plan = compiled(*nodes, tools=tools)
    monkeypatch.setattr(contents, "SECONDS", 0.1)
    first, second = [await read_contents(plan, tools, Workspace(folder, folder)) for _ in range(2)]
    assert all(first.hashes[id] != second.hashes[id] for id in ("none", *names))
    assert first.unread["none"].startswith("read_text: there is no file 'none.md'")
    assert first.unread["slow"] == "not read within 0.1 s"
    assert "SystemExit" in first.unread["gone"] or "3" in first.unread["gone"]
