"""Lookups of a dry run on the Prefect server, where one answers: none is started, and a dry run does without."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from vibe_prefect.cli.exits import StartError
from vibe_prefect.cli.process.environment import API_VARIABLE, server_failures
from vibe_prefect.cli.process.standing import standing_server
from vibe_prefect.operations import CheckedPlan, Lookup, look_up
from vibe_prefect.plan.unfold import open_lists

SECONDS = 15.0
"""Seconds that the server may take to answer all of it."""


async def look_up_if_answered(plan: CheckedPlan, paying: Collection[str], blocks: Collection[str]) -> Lookup:
    """Ask the configured server, or the server of this machine.

    Args:
        plan: The plan.
        paying: Ids of the nodes that would pay for something.
        blocks: Names of the Secret blocks that it needs.
    """
    if not paying and not blocks and not open_lists(plan.compiled):
        return Lookup()
    try:
        server = standing_server()
    except StartError:
        return Lookup(unanswered=f"{API_VARIABLE} names no Prefect server, and none answers on this machine")
    try:
        with server_failures(server):
            return await asyncio.wait_for(look_up(plan, paying, blocks), SECONDS)
    except StartError as error:
        return Lookup(unanswered=str(error))
    except TimeoutError:
        return Lookup(unanswered=f"the Prefect server at {server.api_url} did not answer within {SECONDS:g} s")
