"""The way to an address that was checked, and to no other."""

from __future__ import annotations

import ssl

import httpx

from vibe_prefect.tools.fetch.guard import Admission, IPAddress


class PinnedTransport(httpx.AsyncBaseTransport):
    """Sends every request to addresses that were checked, whatever its URL says.

    TLS still verifies the URL's own host name. Addresses are tried in order until one takes the connection.
    """

    def __init__(self, admission: Admission, tls: ssl.SSLContext) -> None:
        self._admission = admission
        # No connection is kept, so that none is ever used for another host at the same address.
        self._inner = httpx.AsyncHTTPTransport(verify=tls, limits=httpx.Limits(max_keepalive_connections=0))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request.

        Raises:
            httpx.ConnectError: No address took the connection.
        """
        if request.url != self._admission.target.url:
            raise httpx.UnsupportedProtocol(f"{request.url} was not admitted")
        *others, last = self._admission.addresses
        for address in others:
            try:
                return await self._send(request, address)
            except httpx.ConnectError:
                continue
        return await self._send(request, last)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._inner.aclose()

    async def _send(self, request: httpx.Request, address: IPAddress) -> httpx.Response:
        pinned = httpx.Request(
            request.method,
            request.url.copy_with(host=str(address)),
            headers=request.headers,
            stream=request.stream,
            extensions={**request.extensions, "sni_hostname": self._admission.target.host},
        )
        return await self._inner.handle_async_request(pinned)
