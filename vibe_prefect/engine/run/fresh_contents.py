"""What nodes read from outside: read when a run begins, and noted at the run for whoever looks up its records."""

from __future__ import annotations

from collections.abc import Mapping

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.logging import get_run_logger
from pydantic_core import to_json

from vibe_prefect.engine.past_run import CONTENTS_LABEL
from vibe_prefect.plan.compiler import CompiledPlan
from vibe_prefect.run.contents import read_contents
from vibe_prefect.tools.registry import ToolRegistry
from vibe_prefect.tools.workspace import Workspace


async def with_fresh_contents(  # noqa: PLR0913 - the parts of one run
    client: PrefectClient,
    flow_run: FlowRun,
    compiled: CompiledPlan,
    tools: ToolRegistry,
    workspace: Workspace,
    known: Mapping[str, str] | None = None,
) -> CompiledPlan:
    """Return a plan with the hashes of what its nodes read from outside, as far as their policies ask for it.

    Args:
        client: The server's client.
        flow_run: The run that begins.
        compiled: Its plan, with the inputs and the facts of the run.
        tools: Its tools.
        workspace: Its folders.
        known: The hashes, where the run's parent has read the content; `None` for any other run.
    """
    if not compiled.fresh_nodes:
        return compiled
    if known is not None:
        return compiled.with_contents(known)
    contents = await read_contents(compiled, tools, workspace)
    for id, reason in contents.unread.items():
        get_run_logger().warning("Node %r runs, since what it reads could not be compared: %s", id, reason)
    await client.update_flow_run_labels(flow_run.id, {CONTENTS_LABEL: to_json(contents.hashes).decode()})
    return compiled.with_contents(contents.hashes)
