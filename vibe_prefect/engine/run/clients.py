"""Prefect clients that one run shares.

Prefect makes several clients for a flow run, and each of them loads all certificate authorities, which takes 40 ms.
Two requests are spared: the client names a plan's run by itself, and does not ask an embedded server for tokens
against forged requests, which it does not use.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import certifi
from prefect.client.base import ServerType
from prefect.client.orchestration import PrefectClient
from prefect.context import AsyncClientContext, SyncClientContext
from prefect.settings import get_current_settings

from vibe_prefect.engine.inputs.plan_store import PLAN_TAG, plan_id_of
from vibe_prefect.engine.prefect_seam.clients import as_default, skip_csrf
from vibe_prefect.engine.run.plan_flow import PlanFlow

if TYPE_CHECKING:
    from collections.abc import Generator

    from prefect.client.schemas.objects import FlowRun


@asynccontextmanager
async def shared_clients() -> AsyncGenerator[None]:
    """Share one async and one sync client of the server among all code in the block."""
    context = AsyncClientContext.get()
    if context is not None and asyncio.get_running_loop() is context.client.loop:
        yield
        return
    own_context = as_default(AsyncClientContext(_client_settings()))
    _prepare(own_context.client)
    async with own_context:
        with _sync_client():
            yield


class _RunClient(PrefectClient):
    """A client that names a plan's run, and tags it with the plan, as it creates it."""

    async def create_flow_run(self, flow: Any, name: str | None = None, *args: Any, **options: Any) -> FlowRun:
        """Create a flow run; see `PrefectClient.create_flow_run`."""
        parameters: dict[str, Any] = options.get("parameters") or {}
        if name is None and isinstance(flow, PlanFlow):
            name = flow.new_run_name(parameters)
        if isinstance(flow, PlanFlow) and (plan_id := plan_id_of(parameters)) is not None:
            options["tags"] = {*(options.get("tags") or ()), f"{PLAN_TAG}{plan_id}", *flow.more_tags()}
        return await super().create_flow_run(flow, name, *args, **options)


def _prepare(client: PrefectClient) -> None:
    """Spare a client needless requests."""
    client.__class__ = _RunClient
    settings = get_current_settings()
    if client.server_type is ServerType.EPHEMERAL and not settings.server.api.csrf_protection_enabled:
        skip_csrf(client)


@contextmanager
def _sync_client() -> Generator[None]:
    if SyncClientContext.get() is not None:
        yield
        return
    with as_default(SyncClientContext(_client_settings())):
        yield


def _client_settings() -> dict[str, Any] | None:
    api = get_current_settings().api
    if api.tls_insecure_skip_verify:
        return None
    return {"verify": _verified(api.ssl_cert_file or certifi.where())}


@lru_cache(maxsize=4)
def _verified(authorities: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=authorities)
