"""Prefect clients that one run shares.

Prefect makes several clients for a flow run, and each of them loads all certificate authorities, which takes 40 ms.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import certifi
from prefect.context import AsyncClientContext, SyncClientContext
from prefect.settings import get_current_settings

from vibe_prefect.engine.prefect_seam import as_default

if TYPE_CHECKING:
    from collections.abc import Generator


@asynccontextmanager
async def shared_clients() -> AsyncGenerator[None]:
    """Let everything in the block talk to the server through one async and one sync client."""
    context = AsyncClientContext.get()
    if context is not None and asyncio.get_running_loop() is context.client.loop:
        yield
        return
    async with as_default(AsyncClientContext(_client_settings())):
        with _sync_client():
            yield


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
