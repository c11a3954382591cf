"""An automation that posts to a web address whenever a run of a plan ends without success.

python -m flows.automations.notify_on_failure https://example.org/hook
"""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import get_client
from prefect.events.actions import CallWebhook
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from pydantic import SecretStr

NAME = "vibe-prefect: notify on failure"
FACTS = ("plan_id", "run_name", "run_url", "reason", "failed_nodes", "resume")
"""What is posted of an event, as JSON: plan, run, address, reason, failed nodes, and the command that goes on."""

PAYLOAD = "{" + ", ".join(f'"{fact}": {{{{ event.payload.{fact} | tojson }}}}' for fact in FACTS) + "}"

ENDS = {f"vibe-prefect.run.{end}" for end in ("failed", "crashed", "cancelled")}


async def notify_on_failure(address: str, name: str = NAME) -> UUID:
    """Save the automation, in place of those of the same name, and return its id.

    Args:
        address: Where to post to.
        name: What the automation is called.
    """
    webhook: Any = Webhook(method="POST", url=SecretStr(address))
    block: UUID = await webhook.save("notify-on-failure", overwrite=True)
    automation = AutomationCore(
        name=name,
        trigger=EventTrigger(
            expect=ENDS,
            match={"prefect.resource.id": "vibe-prefect.run.*"},
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[CallWebhook(block_document_id=block, payload=PAYLOAD)],
    )
    async with get_client() as client:
        for earlier in await client.read_automations_by_name(name):
            await client.delete_automation(earlier.id)
        return await client.create_automation(automation)


if __name__ == "__main__":
    print(asyncio.run(notify_on_failure(sys.argv[1])))
