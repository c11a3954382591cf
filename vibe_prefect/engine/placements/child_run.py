"""Child runs: runs that execute a branch of a plan at a placement for another run, their parent, which waits for them.

A child run resumes its parent while that is at work. So the two have one record namespace, one output folder by name,
and the same facts and inputs. A tag tells it from a run that resumes one which has ended.
"""

from __future__ import annotations

from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound

from vibe_prefect.engine.past_run import CHILD_PREFIX, PastRun


def child_tag(parent: UUID) -> str:
    """Return the tag of the child runs of a run.

    Args:
        parent: Id of the run.
    """
    return f"{CHILD_PREFIX}{parent}"


async def is_child(client: PrefectClient, flow_run: FlowRun, earlier: PastRun) -> bool:
    """Return whether a run is a child run of the run that it resumes.

    Anybody may give a run a tag, so it counts only where Prefect, too, knows that one as the parent.

    Args:
        client: The server's client.
        flow_run: The run that begins.
        earlier: The run that it resumes.
    """
    if child_tag(earlier.id) not in flow_run.tags or flow_run.parent_task_run_id is None:
        return False
    try:
        started_by = await client.read_task_run(flow_run.parent_task_run_id)
    except ObjectNotFound:
        return False
    return started_by.flow_run_id == earlier.id
