"""An automation that posts to a web address whenever a run of a plan fails.

python -m flows.automations.notify_on_failure https://example.org/hook
"""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from uuid import UUID

from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import get_client
from prefect.events.actions import CallWebhook
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

NAME = "vibe-prefect: notify on failure"
PAYLOAD = '{"plan": "{{ event.payload.plan_id }}", "run": "{{ event.payload.run_name }}"}'


async def notify_on_failure(address: str, name: str = NAME) -> UUID:
    """Save the automation, in place of those of the same name, and return its id.

    Args:
        address: Where to post to.
        name: What the automation is called.
    """
    block = await Webhook(method="POST", url=address).save("notify-on-failure", overwrite=True)
    automation = AutomationCore(
        name=name,
        trigger=EventTrigger(
            expect={"vibe-prefect.run.failed"},
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
