"""Failures of a Prefect server: what an exception means, and one line for people that says what to do.

`classify` reads the exception alone. `explain` may ask the server for its version, where that decides the matter.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import cast
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from vibe_prefect.errors import VibePrefectError

OLDEST_SERVER = (3, 8)
"""The oldest version of a server that this package works with: major and minor number."""

MAX_DETAIL = 200
"""Characters of the server's own words in a message."""

_UNREACHED = "Failed to reach API at"
_INCOMPATIBLE = re.compile(r"Found incompatible versions: .*server: (\S+?)\.? ")
_NO_ROUTE = {404: '{"detail":"Not Found"}', 405: '{"detail":"Method Not Allowed"}'}


class FailureKind(StrEnum):
    """Ways in which a server can fail a request."""

    UNREACHABLE = "unreachable"
    """No answer at all."""

    UNTRUSTED = "untrusted"
    """The server's certificate is not trusted."""

    ELSEWHERE = "elsewhere"
    """Something answers that is not the API of a Prefect server, or lacks the route."""

    LOGIN = "login"
    """401: the server wants a login, or another one."""

    FORBIDDEN = "forbidden"
    """403: the login is not allowed to do that."""

    BROKEN = "broken"
    """5xx or 429: the server fails, or is overloaded."""

    REFUSED = "refused"
    """422: the server does not understand the request, as an older one does not."""

    OLDER = "older"
    """The server said that its version does not fit."""


WORTH_WAITING = (FailureKind.UNREACHABLE, FailureKind.BROKEN)
"""Failures that may be over in a while, as when a server is restarted."""


@dataclass(frozen=True)
class ServerFailure:
    """A failure between this process and its Prefect server."""

    kind: FailureKind
    """The way in which the server failed."""

    detail: str = ""
    """The server's version for `OLDER`; else the status and the request, such as `500 for POST /api/flow_runs/`."""


def classify(error: BaseException) -> ServerFailure | None:
    """Return the failure of the Prefect server that an exception stands for; `None` where it is about something else.

    Args:
        error: The exception; its causes count as well, since Prefect wraps what its HTTP client raises.
    """
    links = list(chain(error))
    for part in links:
        if isinstance(part, httpx.HTTPStatusError) and (failure := _of_answer(part)):
            return failure
        if match := _INCOMPATIBLE.search(f"{part} "):
            return ServerFailure(FailureKind.OLDER, match[1])
    if any(isinstance(part, httpx.TransportError) for part in links):
        untrusted = any("CERTIFICATE_VERIFY_FAILED" in str(part) for part in links)
        return ServerFailure(FailureKind.UNTRUSTED if untrusted else FailureKind.UNREACHABLE)
    if any(_UNREACHED in str(part) for part in links):
        answered = any(isinstance(part, json.JSONDecodeError) for part in links)
        return ServerFailure(FailureKind.ELSEWHERE if answered else FailureKind.UNREACHABLE)
    if any(isinstance(part, httpx.InvalidURL) for part in links):
        return ServerFailure(FailureKind.ELSEWHERE)
    return None


def explain(error: BaseException, api_url: str) -> str | None:
    """Return one line about a failure of the server for people; `None` where an exception is about something else.

    Args:
        error: The exception.
        api_url: The address of the API that was asked.
    """
    failure = None if isinstance(error, VibePrefectError) else classify(error)
    if failure is None:
        return None
    address = without_login(api_url)
    if failure.kind in (FailureKind.REFUSED, FailureKind.ELSEWHERE, FailureKind.BROKEN):
        older = explain_older(address)
        if older is not None:
            return older
    return f"{_sentence(failure, address)}{_proxy_hint(failure.kind, api_url)}"


def explain_older(address: str) -> str | None:
    """Ask the server for its version; returns one line for people where it is too old.

    Args:
        address: The server's address for that line.
    """
    version = server_version()
    if version is None or not _is_older(version):
        return None
    return _sentence(ServerFailure(FailureKind.OLDER, version), address)


def without_login(address: str) -> str:
    """Return an address without the user and password that may be part of it."""
    return re.sub(r"(?<=//)[^/@]*@", "", address)


def server_version() -> str | None:
    """Ask the server of Prefect's settings for its version; `None` where it does not say."""
    from prefect.client.orchestration import get_client

    from vibe_prefect.engine.prefect_seam.clients import fetch_json_now

    try:
        client = get_client(httpx_settings={"timeout": 5.0}, sync_client=True)
        answer: object = fetch_json_now(client, "/admin/version")
    except Exception:  # noqa: BLE001 - whatever it is, there is no version
        return None
    return answer if isinstance(answer, str) else None


def chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception, those in its group, and those that it was raised from.

    Args:
        error: The exception.
    """
    yielded_ids: set[int] = set()
    pending = [error]
    while pending:
        part: BaseException = pending.pop(0)
        if id(part) in yielded_ids:
            continue
        yielded_ids.add(id(part))
        yield part
        pending += _members(part)
        of_prefect = type(part).__module__.startswith("prefect.")
        earlier = part.__cause__ or (part.__context__ if of_prefect else None)
        pending += [earlier] if earlier is not None else []


def _members(error: BaseException) -> Sequence[BaseException]:
    group = isinstance(error, BaseExceptionGroup)
    return cast("BaseExceptionGroup[BaseException]", error).exceptions if group else ()


def _of_answer(error: httpx.HTTPStatusError) -> ServerFailure | None:
    """Return the failure behind an error status; `None` where the status is about the object that was asked for."""
    response, status = error.response, error.response.status_code
    detail = f"{status} for {error.request.method} {error.request.url.path}"
    if status in (401, 407):
        return ServerFailure(FailureKind.LOGIN, detail)
    if status == 403:
        return ServerFailure(FailureKind.FORBIDDEN, detail)
    if status == 422:
        return ServerFailure(FailureKind.REFUSED, f"{detail}: {_words(response)}")
    if status == 429 or status >= 500:
        return ServerFailure(FailureKind.BROKEN, detail)
    if status < 400 or _NO_ROUTE.get(status) == _text(response) or "html" in response.headers.get("content-type", ""):
        return ServerFailure(FailureKind.ELSEWHERE, detail)
    return None


def _text(response: httpx.Response) -> str:
    try:
        return response.text
    except httpx.ResponseNotRead:
        return ""


def _words(response: httpx.Response) -> str:
    """Return the beginning of a server's text about a request that it refuses, without the request itself."""
    try:
        details = response.json()["exception_detail"]
        words = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in details)
    except (ValueError, KeyError, TypeError, httpx.ResponseNotRead):
        words = " ".join(_text(response).split())
    return words if len(words) <= MAX_DETAIL else f"{words[:MAX_DETAIL]}..."


def _is_older(version: str) -> bool:
    numbers = re.match(r"(\d+)\.(\d+)", version)
    return numbers is not None and (int(numbers[1]), int(numbers[2])) < OLDEST_SERVER


def _sentence(failure: ServerFailure, address: str) -> str:
    server = f"the Prefect server at {address}"
    oldest = ".".join(map(str, OLDEST_SERVER))
    match failure.kind:
        case FailureKind.UNREACHABLE:
            return f"cannot reach {server}"
        case FailureKind.UNTRUSTED:
            return f"the certificate of {server} is not trusted: set PREFECT_API_SSL_CERT_FILE to its authority's file"
        case FailureKind.ELSEWHERE:
            return (
                f"what answers at {address} is not the API of a Prefect server, whose address ends with /api, "
                "as in http://127.0.0.1:4200/api"
            )
        case FailureKind.LOGIN:
            return f"{server} wants a login ({failure.detail}): set {_login_setting(address)}"
        case FailureKind.FORBIDDEN:
            return f"{server} does not allow that ({failure.detail}): check {_login_setting(address)}"
        case FailureKind.BROKEN:
            return f"{server} failed ({failure.detail}): see the server's own log"
        case FailureKind.REFUSED:
            return f"{server} refused a request ({failure.detail})"
        case FailureKind.OLDER:
            return f"the server at {address} is Prefect {failure.detail}, this needs {oldest} or newer"


def _login_setting(address: str) -> str:
    if (urlsplit(address).hostname or "").endswith(".prefect.cloud"):
        return "PREFECT_API_KEY"
    return "PREFECT_API_AUTH_STRING (user:password)"


def _proxy_hint(kind: FailureKind, api_url: str) -> str:
    """Name the variable that sends requests to a proxy, where the proxy may be why the server was not reached."""
    if kind in (FailureKind.UNTRUSTED, FailureKind.REFUSED, FailureKind.OLDER):
        return ""
    variable = _proxy_variable(api_url)
    if variable is None:
        return ""
    host = urlsplit(api_url).hostname
    return f"; it was asked through the proxy that {variable} names: if it needs none, add {host} to NO_PROXY"


def _proxy_variable(api_url: str) -> str | None:
    """Return the environment variable that names the proxy for an address; `None` where it is asked directly."""
    try:
        parts = urlsplit(api_url)
        if parts.hostname is None or proxy_bypass(parts.hostname):
            return None
    except ValueError:
        return None
    scheme = next((name for name in (parts.scheme, "all") if getproxies().get(name)), None)
    names = (f"{scheme}_proxy", f"{scheme}_proxy".upper())
    return next((name for name in names if scheme and os.environ.get(name)), None)
