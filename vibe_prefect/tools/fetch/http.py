"""The tool that fetches a URL that the operator allows."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from email.message import Message
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import Field
from typing_extensions import TypedDict

from vibe_prefect.errors import ToolError, shorten
from vibe_prefect.text.encodings import EncodingError, base_type, decode_text, is_text_type
from vibe_prefect.tools.base import OutputPath, ToolCategory, ToolContext
from vibe_prefect.tools.fetch.guard import SETTING, Admission, FetchConfig, admit, read_target
from vibe_prefect.tools.files import workspace_of
from vibe_prefect.tools.functions import FunctionTool, tool
from vibe_prefect.tools.provenance import claim_with_sidecar, provenance_of, write_beside
from vibe_prefect.tools.waits import asks_to_wait, patiently, retry_after
from vibe_prefect.tools.workspace import FileRef

if TYPE_CHECKING:
    import httpx

REDIRECTS = frozenset({301, 302, 303, 307, 308})
RETRYABLE = frozenset({408, 425, 429, 500, 502, 503, 504})
"""The statuses after which trying again may help."""

VERSION = "1"

_UNPACKED = {"gzip": 31, "x-gzip": 31, "deflate": 15}  # zlib's names for the formats


T = TypeVar("T")
Reader = Callable[[Admission, "httpx.Response", FetchConfig], Awaitable[T]]
"""Reads what is wanted of an answer."""


class FetchedText(TypedDict):
    """What `http_fetch` makes of a text."""

    text: str
    """The text."""

    url: str
    """Final address; after redirects without its query."""

    mime: str
    """Media type that the server stated."""

    sha256: str
    """Hash of the bytes, hexadecimal."""

    bytes: int
    """Number of bytes."""


class FetchedFile(FileRef):
    """What `http_fetch` makes when it is told a path."""

    url: str
    """Final address; after redirects without its query."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer."""

    url: str
    """Final address; after redirects without its query."""

    mime: str
    """Media type, without parameters."""

    charset: str | None
    """Charset that the server states; `None` where it states none."""

    content: bytes
    """Its bytes, unpacked."""

    @property
    def is_text(self) -> bool:
        """Whether it is meant to be read as text."""
        return is_text_type(self.mime)


def fetch_tool(config: FetchConfig | None = None) -> FunctionTool:
    """Return the tool `http_fetch`.

    Args:
        config: What the operator allows; by default nothing.
    """
    allowed = config or FetchConfig()

    missing = None if allowed.allow else f"no host may be fetched from; list those that may in {SETTING}"

    async def content_hash(inputs: Mapping[str, Any], context: ToolContext) -> str:
        fetched = await fetch(str(inputs["url"]), allowed, context=context)
        return hashlib.sha256(fetched.content).hexdigest()

    traits: dict[str, Any] = {"missing_setting": missing, "content_hash": content_hash}

    @tool(name="http_fetch", category=ToolCategory.SEARCH, version=VERSION, **traits)
    async def http_fetch(
        url: Annotated[
            str, Field(min_length=1, description="An http or https URL of a host that the operator allows.")
        ],
        context: ToolContext,
        path: Annotated[
            OutputPath | None,
            Field(
                min_length=1,
                max_length=1_000,
                description="Where to write it, below the run's output folder; without it the answer must be text.",
            ),
        ] = None,
        sha256: Annotated[
            str | None,
            Field(pattern=r"^[0-9a-fA-F]{64}$", description="The hash that the content must have, hexadecimal."),
        ] = None,
        encoding: Annotated[
            str | None,
            Field(
                min_length=1,
                max_length=100,
                description="How its bytes become text, such as `windows-1252`; by default by its byte order mark, "
                "the server's header or its own declaration, else UTF-8.",
            ),
        ] = None,
    ) -> FetchedText | FetchedFile:
        """Fetch a text, or a file, from a host that the operator allows; private addresses never.

        Raises:
            ToolError: It may not be fetched, or could not be.
            OutsideRootError: The path leaves the output folder.
            PathTakenError: Another node of the run has written the file.
        """
        if path is not None:
            claim_with_sidecar(workspace_of(context, "http_fetch"), path)
        fetched = await fetch(url, allowed, context=context)
        _check_hash(fetched, sha256)
        if path is None:
            return _text(fetched, encoding)
        from anyio.to_thread import run_sync

        return await run_sync(_write, fetched, path, context)

    return http_fetch


async def fetch(url: str, config: FetchConfig, *, named: bool = True, context: ToolContext | None = None) -> Fetched:
    """Fetch a URL: every hop is checked, sizes and time are bounded; a host that asks to come back later is waited for.

    Args:
        url: What to fetch.
        config: What the operator allows.
        named: Whether the plan named the URL; a server's is not shown whole, since it may hold a signature.
        context: The tool's context, to report a wait to.

    Raises:
        ToolError: It may not be fetched, or could not be; `retryable` tells which.
    """
    host = str(read_target(url))
    return await patiently(host, lambda: _follow(url, config, _whole, named=named), context)


async def probe(url: str, config: FetchConfig) -> str:
    """Ask for a URL, read nothing of the answer, and return where it came from in the end.

    Raises:
        ToolError: It may not be fetched, or could not be; `retryable` tells which.
    """
    return await _follow(url, config, _source)


async def _follow(url: str, config: FetchConfig, read: Reader[T], *, named: bool = True) -> T:
    import anyio
    import httpx

    label = shorten(url if named else url.partition("?")[0], 100)
    try:
        with anyio.fail_after(config.seconds):
            return await _hops(await admit(read_target(url), config, named=named), config, read)
    except TimeoutError as error:
        raise ToolError(f"fetch: {label} took longer than {config.seconds:g} s") from error
    except httpx.HTTPError as error:
        raise ToolError(f"fetch: {label} failed: {type(error).__name__}: {error}") from error


async def _hops(start: Admission, config: FetchConfig, read: Reader[T]) -> T:
    import httpx

    admission = start
    for _ in range(config.max_redirects + 1):
        answer = await _get(admission, config, read)
        if not isinstance(answer, httpx.URL):
            return answer
        target = read_target(str(answer))
        if admission.target.url.scheme == "https" and target.url.scheme != "https":
            raise ToolError(
                f"fetch: {admission.target} redirects from https to http, which is refused", retryable=False
            )
        admission = await admit(target, config, after=start)
    raise ToolError(f"fetch: {shorten(start.shown, 100)}: more than {config.max_redirects} redirects", retryable=False)


async def _get(admission: Admission, config: FetchConfig, read: Reader[T]) -> T | httpx.URL:
    """Return what is read of an answer, or where it redirects to."""
    import httpx

    from vibe_prefect.tools.fetch.pinned import PinnedTransport

    transport = PinnedTransport(admission, config.tls)
    headers = {"Accept-Encoding": "gzip", "User-Agent": "vibe-prefect"}
    async with (
        httpx.AsyncClient(transport=transport, trust_env=False, timeout=config.seconds) as client,
        client.stream("GET", admission.target.url, headers=headers) as response,
    ):
        if response.status_code in REDIRECTS and "location" in response.headers:
            return _joined(admission, response.headers["location"])
        if not response.is_success:
            raise _status_error(admission, response)
        return await read(admission, response, config)


async def _whole(admission: Admission, response: httpx.Response, config: FetchConfig) -> Fetched:
    mime, charset = _content_type(response)
    _check_type(admission, mime, config)
    return Fetched(admission.shown, mime, charset, await _body(response, config.max_bytes))


async def _source(admission: Admission, _response: httpx.Response, _config: FetchConfig) -> str:
    return admission.shown


def _joined(admission: Admission, location: str) -> httpx.URL:
    import httpx

    try:
        return admission.target.url.join(location)
    except (httpx.InvalidURL, ValueError) as error:
        raise ToolError(
            f"fetch: {admission.target} redirects to {shorten(location)}, which is not a URL", retryable=False
        ) from error


def _status_error(admission: Admission, response: httpx.Response) -> ToolError:
    status, wait = response.status_code, retry_after(response.headers)
    return ToolError(
        f"fetch: {shorten(admission.shown, 100)} answered {status} {response.reason_phrase}".rstrip(),
        retryable=status in RETRYABLE,
        retry_after=wait,
        asks_to_wait=asks_to_wait(status, wait),
    )


def _content_type(response: httpx.Response) -> tuple[str, str | None]:
    """Return the media type and the charset, where one is stated; what states no type is bytes."""
    message = Message()
    message["content-type"] = response.headers.get("content-type", "application/octet-stream")
    return message.get_content_type(), message.get_content_charset()


def _check_type(admission: Admission, mime: str, config: FetchConfig) -> None:
    if not base_type(mime).startswith(config.types):
        raise ToolError(
            f"fetch: {shorten(admission.shown, 100)} is {mime}; allowed is {', '.join(config.types)}",
            retryable=False,
        )


async def _body(response: httpx.Response, limit: int) -> bytes:
    """Return the body, unpacked, as long as it is not too large at any moment."""
    stated = response.headers.get("content-length", "")
    if stated.isdigit() and int(stated) > limit:
        raise _too_large(limit)
    content = bytearray()
    async for chunk in _unpacked(response, limit):
        content += chunk
        if len(content) > limit:
            raise _too_large(limit)
    return bytes(content)


async def _unpacked(response: httpx.Response, limit: int) -> AsyncIterator[bytes]:
    """Yield the body's parts, none longer than the limit and one byte: httpx would unpack a bomb whole."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("identity", ""):
        async for chunk in response.aiter_raw():
            yield chunk
        return
    if encoding not in _UNPACKED:
        raise ToolError(f"fetch: the answer is packed as {shorten(encoding)}, which was not asked for", retryable=False)
    unpacker = zlib.decompressobj(_UNPACKED[encoding])
    try:
        async for chunk in response.aiter_raw():
            yield unpacker.decompress(chunk, limit + 1)
            if unpacker.unconsumed_tail:
                raise _too_large(limit)
    except zlib.error as error:
        raise ToolError(f"fetch: the answer says that it is packed as {encoding} and is not: {error}") from error
    if not unpacker.eof:
        raise ToolError("fetch: the answer ended before it was whole")


def _too_large(limit: int) -> ToolError:
    return ToolError(f"fetch: the answer has more than {limit:,} bytes, the operator's limit", retryable=False)


def _check_hash(fetched: Fetched, expected: str | None) -> None:
    actual = hashlib.sha256(fetched.content).hexdigest()
    if expected is not None and actual != expected.lower():
        raise ToolError(f"fetch: {fetched.url} has sha256 {actual}, expected {expected.lower()}", retryable=False)


def _text(fetched: Fetched, encoding: str | None) -> FetchedText:
    if not fetched.is_text:
        raise ToolError(
            f"fetch: {fetched.url} is {fetched.mime}, no text; give a `path` to write it to", retryable=False
        )
    return FetchedText(
        text=_decoded(fetched, encoding),
        url=fetched.url,
        mime=fetched.mime,
        sha256=hashlib.sha256(fetched.content).hexdigest(),
        bytes=len(fetched.content),
    )


def _decoded(fetched: Fetched, encoding: str | None) -> str:
    try:
        return decode_text(
            fetched.content, "fetch", fetched.url, given=encoding, charset=fetched.charset, mime=fetched.mime
        )
    except EncodingError as error:
        raise ToolError(str(error), retryable=False) from error


def _write(fetched: Fetched, path: str, context: ToolContext) -> FetchedFile:
    provenance = provenance_of(context, "http_fetch", VERSION, url=fetched.url)
    ref = write_beside(workspace_of(context, "http_fetch"), path, fetched.content, fetched.mime, provenance)
    return FetchedFile(**ref, url=fetched.url)
