"""Preflight: checks of Secret blocks and of tools, which only a run that begins can make."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from prefect.client.orchestration import PrefectClient
from prefect.exceptions import ObjectNotFound

from vibe_prefect.engine.run.children import check_children
from vibe_prefect.engine.run.run_setup import RunSetup
from vibe_prefect.errors import UsageError
from vibe_prefect.plan.branches import branches
from vibe_prefect.plan.compiler import CompiledNode, CompiledPlan
from vibe_prefect.plan.preflight import call_problems
from vibe_prefect.tools.registry import ToolRegistry
from vibe_prefect.tools.secrecy.known import scrubbed

BLOCK_TYPE = "secret"
"""Prefect's name of the type of Secret blocks."""


async def blocks_there(client: PrefectClient, names: Collection[str]) -> dict[str, bool]:
    """Return for each Secret block whether the server has it; its content is not asked for."""
    return {name: await _is_there(client, name) for name in names}


async def check_ready(client: PrefectClient, compiled: CompiledPlan, tools: ToolRegistry) -> None:
    """Refuse a plan before its first node when its tools need a Secret block that the server lacks.

    Args:
        client: The server's client.
        compiled: The plan.
        tools: The tools of its run.

    Raises:
        UsageError: A Secret block is missing.
    """
    used = sorted({node.tool for node in compiled.nodes.values() if node.tool})
    _refuse(await _missing_blocks(client, tools, used))


async def check_calls(compiled: CompiledPlan, setup: RunSetup) -> None:
    """Refuse a run before its first node when tools find that calls which it will make cannot succeed.

    Args:
        compiled: The plan.
        setup: The run; nodes that it reuses make no calls.

    Raises:
        UsageError: A call cannot succeed.
    """
    ids = [id for id, node in compiled.nodes.items() if setup.chosen.may_run(node)]
    children, elsewhere = setup.children, dict[str, str]()
    if children is not None:
        there = branches(compiled, children.placements, setup.run_on)
        elsewhere = {id: branch.placement for branch in there for id in branch.members}
    checked = {tool for tool in compiled.tools if setup.tools.traits(tool).preflight is not None}
    asked = [id for id in ids if id in elsewhere or compiled.nodes[id].tool in checked]
    runs = [id for id in asked if not await _reused(compiled.nodes[id], setup)]
    if children is not None:
        await check_children(children, {elsewhere[id] for id in runs if id in elsewhere})
    runs = [id for id in runs if id not in elsewhere]
    problems = await call_problems(compiled, runs, setup.tools, setup.workspace)
    _refuse([f"{_tools(names)} more: {problem}" for problem, names in problems.items()])


async def _reused(node: CompiledNode, setup: RunSetup) -> bool:
    if not setup.goes_on or setup.chosen.refreshes(node):
        return False
    return await setup.records.exists(node.id, node.key)


def _refuse(problems: Sequence[str]) -> None:
    if problems:
        raise UsageError(f"nothing was run: {scrubbed('; '.join(problems))}")


async def _missing_blocks(client: PrefectClient, tools: ToolRegistry, used: Collection[str]) -> list[str]:
    sources = {source: names for source, names in tools.key_sources(used).items() if source.block}
    present = await blocks_there(client, {source.block for source in sources if source.block})
    return [
        f"{_tools(names)} a key: {source.remedy}"
        for source, names in sources.items()
        if source.block and not present[source.block]
    ]


def _tools(names: Collection[str]) -> str:
    return f"the tool {next(iter(names))} needs" if len(names) == 1 else f"the tools {', '.join(names)} need"


async def _is_there(client: PrefectClient, name: str) -> bool:
    try:
        await client.read_block_document_by_name(name, BLOCK_TYPE, include_secrets=False)
    except ObjectNotFound:
        return False
    return True
