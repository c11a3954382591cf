"""The Secret blocks that a run needs: whether they are there, looked up before anything is paid for."""

from __future__ import annotations

from collections.abc import Collection

from prefect.client.orchestration import PrefectClient
from prefect.exceptions import ObjectNotFound

from vibe_prefect.compiler import CompiledPlan
from vibe_prefect.errors import UsageError
from vibe_prefect.tools.keysources import key_sources
from vibe_prefect.tools.registry import ToolRegistry

BLOCK_TYPE = "secret"
"""Prefect's name of the type."""


async def blocks_there(client: PrefectClient, names: Collection[str]) -> dict[str, bool]:
    """Tell of each Secret block whether the server has it; what it holds is not asked for."""
    return {name: await _is_there(client, name) for name in names}


async def check_blocks(client: PrefectClient, compiled: CompiledPlan, tools: ToolRegistry) -> None:
    """Refuse a plan whose tools need a Secret block that the server does not have.

    Args:
        client: The server's client.
        compiled: The plan.
        tools: The tools of its run.

    Raises:
        UsageError: A block is missing.
    """
    used = {node.tool for node in compiled.nodes.values() if node.tool}
    sources = {source: names for source, names in key_sources(tools, used).items() if source.block}
    there = await blocks_there(client, {source.block for source in sources if source.block})
    missing = [
        f"the {'tool' if len(names) == 1 else 'tools'} {', '.join(names)}: {source.remedy}"
        for source, names in sources.items()
        if source.block and not there[source.block]
    ]
    if missing:
        raise UsageError(f"a key is missing, and nothing was run; {'; '.join(missing)}")


async def _is_there(client: PrefectClient, name: str) -> bool:
    try:
        await client.read_block_document_by_name(name, BLOCK_TYPE, include_secrets=False)
    except ObjectNotFound:
        return False
    return True
