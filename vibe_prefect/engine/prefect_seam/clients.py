"""Clients of Prefect's server."""

from __future__ import annotations

from typing import Any

import httpx
from prefect.client.orchestration import PrefectClient, SyncPrefectClient


async def fetch_json(client: PrefectClient, path: str, seconds: float) -> Any:
    """Fetch JSON from a route for which Prefect's client has no call, without retries.

    Args:
        client: The client.
        path: The route, below the address of the API.
        seconds: Time that the answer may take.

    Raises:
        httpx.HTTPError: The server did not answer.
        ValueError: The answer is not JSON.
    """
    return (await client._client.get(path, timeout=seconds)).json()  # pyright: ignore[reportPrivateUsage]


def fetch_json_now(client: SyncPrefectClient, path: str) -> Any:
    """Fetch JSON from a route without retries; the client's own calls are tried six times.

    Args:
        client: The client.
        path: The route, below the address of the API.

    Raises:
        httpx.HTTPError: The server did not answer.
        ValueError: The answer is not JSON.
    """
    return client._client.get(path).json()  # pyright: ignore[reportPrivateUsage]


async def delete_once(client: PrefectClient, path: str) -> int:
    """Delete what is at a route, without retries and without a token against forged requests.

    Args:
        client: The client.
        path: The route, below the address of the API.

    Returns:
        The HTTP status of the answer.

    Raises:
        httpx.HTTPError: The server did not answer.
    """
    inner = client._client  # pyright: ignore[reportPrivateUsage]
    return (await httpx.AsyncClient.send(inner, inner.build_request("DELETE", path))).status_code


async def cut_off(client: PrefectClient) -> None:
    """Close the connections of a client that is in use: requests that wait, shielded ones included, fail at once.

    Args:
        client: The client.
    """
    await client._client.aclose()  # pyright: ignore[reportPrivateUsage]


def skip_csrf(client: PrefectClient) -> None:
    """Have a client ask for no token against forged requests; the setting would count for every server.

    Args:
        client: A client of a server that asks for none.
    """
    client._client.enable_csrf_support = False  # pyright: ignore[reportPrivateUsage]


def as_default(context: Any) -> Any:
    """Make `get_client()` return the client of a context, although that was made with settings of its own.

    Args:
        context: An `AsyncClientContext` or a `SyncClientContext`.

    Returns:
        The context.
    """
    context._httpx_settings = None
    return context
