"""Plans that are too large for the parameters of a flow run: files in the storage of records, named by their hash.

A server bounds the parameters of a run (512 kB unless its operator says otherwise), and each list of runs carries them.
So a large plan is one file beside the records, and the parameter names it. A run's plan is always read through here.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import httpx
from prefect.client.orchestration import PrefectClient
from pydantic_core import from_json

from vibe_prefect.core.models import WorkflowPlan
from vibe_prefect.engine.prefect_seam.clients import fetch_json
from vibe_prefect.engine.prefect_seam.storage import read_block, write_block
from vibe_prefect.engine.records.storage import RecordFolder, RecordStore
from vibe_prefect.errors import KeptPlanError, UsageError
from vibe_prefect.plan.reading.size import SMALL_BYTES, inline_limit, slim_data, weight
from vibe_prefect.settings.package import variable

PLAN = "plan"
"""Name of the flow's parameter that holds the plan, or names it."""

PLAN_TAG = "plan:"
"""Prefix of the tag of a plan's runs, before the plan's id."""

PLANS_FOLDER = "plans"
"""Folder of the plans in the storage of records, each as `<sha256>.json`."""

_REFERENCE = re.compile(r"kept:([A-Za-z0-9][A-Za-z0-9._-]{0,99})@sha256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class KeptPlan:
    """A reference to a plan beside the records. As text it is neither the name of a stored plan nor data."""

    plan_id: str
    """The plan's id."""

    sha256: str
    """Hash of its file, hexadecimal."""

    def __str__(self) -> str:
        return f"kept:{self.plan_id}@sha256:{self.sha256}"

    @property
    def path(self) -> str:
        """Path of the plan in the storage."""
        return f"{PLANS_FOLDER}/{self.sha256}.json"


def kept_plan(value: object) -> KeptPlan | None:
    """Parse a parameter `plan` as a reference; `None` for anything else."""
    match = _REFERENCE.fullmatch(value.strip()) if isinstance(value, str) else None
    return KeptPlan(match[1], match[2]) if match else None


def plan_id_of(parameters: Mapping[str, Any]) -> str | None:
    """Return the id of a run's plan; `None` where its parameters hold only a plan's name or path.

    Args:
        parameters: The run's parameters, as the server gets them.
    """
    plan = parameters.get(PLAN)
    ref = kept_plan(plan)
    data: Mapping[str, object] = cast("Any", plan) if isinstance(plan, Mapping) else {}
    plan_id = ref.plan_id if ref else data.get("id")
    return plan_id if isinstance(plan_id, str) else None


async def plan_parameter(plan: WorkflowPlan, store: RecordStore, client: PrefectClient) -> dict[str, Any] | str:
    """Return the value for a run's or a deployment's parameter `plan`: the plan's data, or a reference to a large plan.

    Args:
        plan: The plan.
        store: The store of the run's records; a large plan is written there.
        client: The server that gets the parameter.

    Raises:
        UsageError: The storage cannot take the plan.
    """
    data = slim_data(plan)
    size = weight(data)
    if size <= SMALL_BYTES or size <= inline_limit(await parameter_limit(client)):
        return data
    content = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
    ref = KeptPlan(plan.id, hashlib.sha256(content).hexdigest())
    assert store.result_storage is not None
    try:
        # Also where it is there already: the time of its writing tells `prune` that it is in use.
        await write_block(store.result_storage, ref.path, content)
    except Exception as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise UsageError(
            f"the plan {plan.id!r} has {size:,} bytes, too many for a run's parameters, and cannot be kept with the "
            f"records in {_place(store)} ({reason}): set {variable('storage')} to another folder"
        ) from error
    return str(ref)


async def parameter_limit(client: PrefectClient) -> int | None:
    """Return the bytes that a server takes as a run's parameters; `None` where it does not say, or has no limit."""
    try:
        settings = await fetch_json(client, "/admin/settings", 10.0)
        limit = settings["server"]["api"]["max_parameter_size"]
    except (httpx.HTTPError, ValueError, KeyError, TypeError):  # Prefect Cloud has no such route
        return None
    return limit if isinstance(limit, int) and limit > 0 else None


async def recorded_data(value: object, store: RecordStore) -> object:
    """Return the plan's data for a run's parameter `plan`: its own, or those of the file that it refers to.

    Args:
        value: The parameter; any other value comes back as it is.
        store: The store of the run's records.

    Raises:
        KeptPlanError: The storage lacks the plan's file, or its content is another one.
    """
    ref = kept_plan(value)
    if ref is None:
        return value
    assert store.result_storage is not None
    try:
        content = await read_block(store.result_storage, ref.path)
    except Exception as error:
        hint = f"set {variable('storage')} to the storage that the run used, or give the plan's file"
        raise KeptPlanError(
            f"the plan {ref.plan_id!r} is kept as {ref.path}, and {_place(store)} lacks it: {hint}"
        ) from error
    if hashlib.sha256(content).hexdigest() != ref.sha256:
        raise KeptPlanError(
            f"the plan {ref.plan_id!r}, kept as {ref.path} in {_place(store)}, was changed; give its file"
        )
    data = _mapping_in(content)
    if data.get("id") != ref.plan_id:  # whoever wrote the reference made it up
        raise KeptPlanError(f"{ref.path} in {_place(store)} is not the plan {ref.plan_id!r}; give the plan's file")
    return data


def _mapping_in(content: bytes) -> dict[str, Any]:
    try:
        data = from_json(content)
    except ValueError:
        return {}
    return cast("dict[str, Any]", data) if isinstance(data, dict) else {}


def _place(store: RecordStore) -> str:
    files = store.result_storage
    return str(files.root) if isinstance(files, RecordFolder) else f"the storage block ({type(files).__name__})"
