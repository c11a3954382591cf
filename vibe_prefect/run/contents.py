"""What nodes read from outside, as hashes, before it is decided which records are reused; see `policy.fresh`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from vibe_prefect.core.user_code import contained
from vibe_prefect.plan.compiler import CompiledNode, CompiledPlan
from vibe_prefect.run.handlers import fill_inputs
from vibe_prefect.templates.texts import template_values
from vibe_prefect.text.sendable import MAX_STATE, sendable, text_of
from vibe_prefect.tools.base import ToolContext, ToolTraits
from vibe_prefect.tools.registry import ToolRegistry
from vibe_prefect.tools.secrecy.redaction import redacted_errors
from vibe_prefect.tools.workspace import Workspace

AT_ONCE = 8
"""Nodes for which contents are read at once."""

SECONDS = 120.0
"""Seconds that the content of one node may take."""

_DIGITS = 32
"""Hexadecimal digits of a hash that are kept."""


@dataclass(frozen=True)
class Contents:
    """Hashes of what the nodes of a plan read from outside."""

    hashes: Mapping[str, str]
    """The hash, by the node's id. Where nothing could be read it is one that no other run has, so the node runs."""

    unread: Mapping[str, str]
    """Why nothing could be read, by the node's id."""


async def read_contents(compiled: CompiledPlan, tools: ToolRegistry, workspace: Workspace) -> Contents:
    """Read what those nodes would read from outside whose policy asks for it.

    Args:
        compiled: The plan, with the inputs and the facts of the run.
        tools: The tools of the run.
        workspace: Its folders.
    """
    slots = asyncio.Semaphore(AT_ONCE)
    hashes, unread = dict[str, str](), dict[str, str]()

    async def read(id: str) -> None:
        async with slots:
            try:
                with redacted_errors(), contained():
                    async with asyncio.timeout(SECONDS):
                        hashes[id] = (await _hash(compiled, compiled.nodes[id], tools, workspace))[:_DIGITS]
            except Exception as error:  # noqa: BLE001 - the node itself will say it, if it is not gone by then
                timed_out = isinstance(error, TimeoutError) and not str(error)
                unread[id] = f"not read within {SECONDS:g} s" if timed_out else sendable(text_of(error), MAX_STATE)
                hashes[id] = uuid4().hex[:_DIGITS]

    await asyncio.gather(*(read(id) for id in compiled.fresh_nodes))
    return Contents({id: hashes[id] for id in compiled.fresh_nodes}, unread)


async def _hash(compiled: CompiledPlan, node: CompiledNode, tools: ToolRegistry, workspace: Workspace) -> str:
    tool = tools.get(node.tool or "")
    content_hash = ToolTraits.of(tool).content_hash
    assert tool is not None
    assert content_hash is not None
    context = _context(compiled, node, workspace)
    return await content_hash(await fill_inputs(tool, node.inputs, template_values(context)), context)


def _context(compiled: CompiledPlan, node: CompiledNode, workspace: Workspace) -> ToolContext:
    values: Mapping[str, Any] = compiled.values.inputs
    return ToolContext(
        node_description=node.node.description,
        node_id=node.id,
        plan_id=compiled.plan.id,
        node_type=node.node.type.value,
        vibe=compiled.plan.source_vibe,
        inputs=values,
        run=compiled.values.facts,
        workspace=workspace.for_node(node.id),
    )
