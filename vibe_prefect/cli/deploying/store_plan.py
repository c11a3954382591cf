"""`vibe-prefect blocks`: plans that are stored on the Prefect server."""

from __future__ import annotations

import re
from typing import Any, cast

from vibe_prefect.cli.display.console import out
from vibe_prefect.cli.exits import ExitCode
from vibe_prefect.cli.process.environment import ask
from vibe_prefect.cli.process.standing import standing_server
from vibe_prefect.cli.reading.plans import ready
from vibe_prefect.errors import UsageError
from vibe_prefect.plan.reading.plan_file import load_plan, whole_text

_NAME = re.compile(r"[a-z0-9-]+")


def register() -> int:
    """Register the block type for stored plans on the server."""
    from vibe_prefect.engine.inputs.plan_block import SLUG, WorkflowPlanBlock
    from vibe_prefect.engine.server.ui_pages import ui_page

    server = standing_server()
    ask(server, _register())
    screen = out()
    screen.say(f"registered the block type {WorkflowPlanBlock.get_block_type_name()!r} on {server.api_url}")
    if address := ui_page(f"/blocks/catalog/{SLUG}/create"):
        screen.say(f"store a plan  {address}")
    return ExitCode.COMPLETED


def save(name: str, plan: str) -> int:
    """Store a plan file under a name."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"a stored plan cannot be named {name!r}: use lower-case letters, digits and '-'")
    ready(plan)
    server = standing_server()
    new = ask(server, _save(name, whole_text(load_plan(plan))))
    out().say(f"{'stored' if new else 'replaced'} the plan {name!r} on {server.api_url}; runs name it by plan={name}")
    return ExitCode.COMPLETED


async def _register() -> None:
    from vibe_prefect.engine.inputs.plan_block import WorkflowPlanBlock

    await cast("Any", WorkflowPlanBlock.aregister_type_and_schema)()


async def _save(name: str, text: str) -> bool:
    from prefect.client.orchestration import get_client

    from vibe_prefect.engine.inputs.plan_block import save_plan

    async with get_client() as client:
        return await save_plan(client, name, text)
