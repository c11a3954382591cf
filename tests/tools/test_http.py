"""`http_fetch`, against a real server on loopback."""

from __future__ import annotations

import asyncio
import datetime as dt
import gzip
import hashlib
import ipaddress
import json
import zlib
from collections.abc import AsyncIterator, Generator, Sequence
from dataclasses import replace
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.providers.loopback import serving
from vibe_prefect.errors import OutsideRootError, ToolError
from vibe_prefect.tools import ToolContext, Workspace
from vibe_prefect.tools.fetch.guard import FetchConfig
from vibe_prefect.tools.fetch.http import fetch, fetch_tool, retry_after


class Site:
    """A site whose paths answer what a test puts there; it notes what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, dict[str, str], bytes | Any]] = {}
        self.asked: list[tuple[str, str]] = []
        self.port = 0

    def put(self, path: str, body: bytes | Any = b"", *, status: int = 200, **headers: str) -> str:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers[path] = (status, {"content-type": "text/plain", **named}, body)
        return f"http://127.0.0.1:{self.port}{path}"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        host = dict(scope["headers"])[b"host"].decode()
        self.asked.append((host, scope["path"]))
        status, headers, body = self.answers[scope["path"]]
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        async for part in _parts(body):
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _parts(body: bytes | Any) -> AsyncIterator[bytes]:
    if isinstance(body, bytes):
        yield body
    else:
        async for part in body():
            yield part


@pytest.fixture
def site() -> Generator[Site]:
    site = Site()
    with serving(site) as site.port:
        yield site


@pytest.fixture
def config(site: Site) -> FetchConfig:
    here = (f"127.0.0.1:{site.port}",)
    return FetchConfig(allow=here, allow_private=here, seconds=10)


@pytest.fixture
def context(tmp_path: Path) -> ToolContext:
    return ToolContext(
        workspace=Workspace(tmp_path / "in", tmp_path / "out"), plan_id="plan", node_id="node", key="ab" * 32
    )


async def refusal(url: str, config: FetchConfig) -> ToolError:
    with pytest.raises(ToolError) as caught:
        await fetch(url, config)
    return caught.value


async def test_a_text_is_fetched(site: Site, config: FetchConfig, context: ToolContext) -> None:
    url = site.put("/a", "Grüße".encode("latin-1"), content_type="text/html; charset=latin-1")
    result = await fetch_tool(config).execute({"url": url}, context)
    assert result.output == {
        "text": "Grüße",
        "url": url,
        "mime": "text/html",
        "sha256": hashlib.sha256("Grüße".encode("latin-1")).hexdigest(),
        "bytes": 5,
    }


async def test_a_file_is_written_as_it_came_with_a_sidecar(
    site: Site, config: FetchConfig, context: ToolContext, tmp_path: Path
) -> None:
    content = b"\x89PNG\r\n\x1a\nnot changed"
    url = site.put("/a.png", content, content_type="image/png")
    result = await fetch_tool(config).execute({"url": url, "path": "pics/a.png"}, context)
    sha256 = hashlib.sha256(content).hexdigest()
    assert result.output == {"path": "pics/a.png", "mime": "image/png", "sha256": sha256, "bytes": 19, "url": url}
    assert (tmp_path / "out/pics/a.png").read_bytes() == content
    assert json.loads((tmp_path / "out/pics/a.png.provenance.json").read_text()) == {
        "plan": "plan",
        "node": "node",
        "key": "ab" * 32,
        "tool": "http_fetch",
        "version": "1",
        "url": url,
        "sha256": sha256,
    }


async def test_an_ipv6_address_is_fetched_from() -> None:
    site = Site()
    site.put("/a", b"six")
    with serving(site, host="::1") as port:
        here = (f"[::1]:{port}",)
        config = FetchConfig(allow=here, allow_private=here)
        assert (await fetch(f"http://[::1]:{port}/a", config)).content == b"six"
    assert site.asked == [(f"[::1]:{port}", "/a")]


async def test_without_configuration_nothing_is_fetched(site: Site, context: ToolContext) -> None:
    url = site.put("/a", b"x")
    with pytest.raises(ToolError, match=r"allow-list \(nothing\); .* PREFECT_INTEGRATIONS_VIBE_PREFECT_FETCH_ALLOW"):
        await fetch_tool().execute({"url": url}, context)
    assert site.asked == []


async def test_a_path_outside_the_output_folder_is_refused_before_anything_is_fetched(
    site: Site, config: FetchConfig, context: ToolContext
) -> None:
    url = site.put("/a", b"x")
    with pytest.raises(OutsideRootError):
        await fetch_tool(config).execute({"url": url, "path": "../a"}, context)
    assert site.asked == []


@pytest.mark.parametrize(
    ("status", "headers", "retryable", "wait"),
    [
        (404, {}, False, None),
        (429, {"retry_after": "7"}, True, 7.0),
        (503, {"retry_after": "99999999"}, True, 3600.0),
        (500, {"retry_after": "soon"}, True, None),
        (302, {}, False, None),
    ],
)
@pytest.mark.usefixtures("impatient")
async def test_a_status_is_an_error_that_says_whether_to_try_again(
    site: Site, config: FetchConfig, status: int, headers: dict[str, str], retryable: bool, wait: float | None
) -> None:
    error = await refusal(site.put("/a", status=status, **headers), config)
    assert f"answered {status}" in str(error)
    assert (error.retryable, error.retry_after) == (retryable, wait)


def test_a_date_is_a_wait_too() -> None:
    later = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=100)
    assert retry_after({"retry-after": format_datetime(later, usegmt=True)}) == pytest.approx(100, abs=3)
    assert retry_after({"retry-after": "Mon, 31 Dec 99999999999999 00:00:00 GMT"}) is None
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0


async def test_a_redirect_is_followed_to_a_host_that_is_allowed(site: Site, config: FetchConfig) -> None:
    end = site.put("/end", b"here")
    first = site.put("/first", status=302, location="/second")
    site.put("/second", status=307, location=end)
    found = await fetch(first, config)
    assert (found.content, found.url) == (b"here", end)


async def test_the_signature_in_a_redirect_is_in_no_record(
    site: Site, config: FetchConfig, context: ToolContext, tmp_path: Path
) -> None:
    url = site.put("/a", status=302, location="/b?signature=s3cret#x") + "?plan=1"
    end = site.put("/b", b"x")
    result = await fetch_tool(config).execute({"url": url, "path": "b.txt"}, context)
    assert result.output["url"] == end
    assert "s3cret" not in (tmp_path / "out/b.txt.provenance.json").read_text()
    site.put("/b", status=403)
    assert str(await refusal(url, config)) == f"fetch: '{end}' answered 403 Forbidden"
    site.put("/a", b"x")
    assert (await fetch(url, config)).url == url


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1:1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:127.0.0.1]:{port}/secret",
        "http://2130706433:{port}/secret",
        "http://localhost:{port}/secret",
        "http://user@127.0.0.1:{port}/secret",
        "//127.1:{port}/secret",
        "file:///etc/passwd",
        "http://exa mple\\",
    ],
)
async def test_a_redirect_is_checked_like_a_url_of_the_plan(site: Site, config: FetchConfig, location: str) -> None:
    site.put("/secret", b"secret")
    url = site.put("/a", status=302, location=location.format(port=site.port))
    everyone = replace(config, allow=(*config.allow, "*", f"*:{site.port}", "127.0.0.1:1"))
    error = await refusal(url, everyone)
    assert not error.retryable
    assert [path for _, path in site.asked] == ["/a"]


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "017700000001",
        "0177.0.0.1",
        "0",
        "0.0.0.0",  # noqa: S104 - it is refused
        "[::]",
        "[::1]",
        "[::127.0.0.1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "localhost",
        "localhost.",
        "LOCALHOST",
        "127。0。0。1",
        "①②⑦.0.0.1",
        "inward.example",
        "169.254.169.254",
    ],
)
async def test_the_tool_reaches_no_private_address_however_it_is_spelt(
    site: Site, context: ToolContext, tmp_path: Path, host: str
) -> None:
    """The site listens on this machine, and would answer; everything but private addresses is allowed."""
    site.put("/secret", b"secret")

    async def inward(name: str, port: int) -> Sequence[str]:
        return ("127.0.0.1",)

    everyone = FetchConfig(allow=("*", f"*:{site.port}"))
    everyone = replace(everyone, resolve=inward) if host == "inward.example" else everyone
    for inputs in ({}, {"path": "a.txt"}):
        with pytest.raises(ToolError) as caught:
            await fetch_tool(everyone).execute({"url": f"http://{host}:{site.port}/secret"} | inputs, context)
        assert not caught.value.retryable
    assert site.asked == []
    assert not (tmp_path / "out").exists()


async def test_an_exemption_does_not_pass_on_through_a_redirect(site: Site, config: FetchConfig) -> None:
    other = Site()
    with serving(other) as other.port:
        secret = other.put("/secret", b"secret")
        url = site.put("/a", status=302, location=secret)
        there = f"127.0.0.1:{other.port}"
        both = FetchConfig(allow=(*config.allow, there), allow_private=(*config.allow_private, there))
        assert (await fetch(secret, both)).content == b"secret"
        assert "is not a public address" in str(await refusal(url, both))
        assert len(other.asked) == 1


async def test_redirects_come_to_an_end(site: Site, config: FetchConfig) -> None:
    url = site.put("/round", status=301, location="/round")
    assert "more than 5 redirects" in str(await refusal(url, config))
    assert len(site.asked) == 6


class Rebinding:
    """A name server that answers otherwise each time."""

    def __init__(self, *answers: str) -> None:
        self.answers = answers
        self.calls = 0

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.calls += 1
        return (self.answers[(self.calls - 1) % len(self.answers)],)


async def test_a_name_is_looked_up_once_and_the_connection_goes_where_was_checked(site: Site) -> None:
    site.put("/a", b"checked")
    port = site.port
    resolve = Rebinding("127.0.0.1", "169.254.169.254")
    named = FetchConfig(allow=(f"rebind.example:{port}",), allow_private=(f"127.0.0.1:{port}",), resolve=resolve)
    assert (await fetch(f"http://rebind.example:{port}/a", named)).content == b"checked"
    assert resolve.calls == 1
    assert site.asked == [(f"rebind.example:{port}", "/a")]
    await refusal(f"http://rebind.example:{port}/a", named)
    assert len(site.asked) == 1


async def test_a_name_that_turns_inward_between_redirects_is_refused(site: Site) -> None:
    port = site.port
    site.put("/a", status=302, location="/secret")
    site.put("/secret", b"secret")
    resolve = Rebinding("127.0.0.1", "127.0.0.2")
    named = FetchConfig(
        allow=(f"rebind.example:{port}",), allow_private=(f"127.0.0.1:{port}", f"127.0.0.2:{port}"), resolve=resolve
    )
    assert "127.0.0.2" in str(await refusal(f"http://rebind.example:{port}/a", named))
    assert [path for _, path in site.asked] == ["/a"]


async def test_the_next_address_is_tried_when_one_takes_no_connection(site: Site) -> None:
    site.put("/a", b"found")
    port = site.port

    async def resolve(host: str, port: int) -> Sequence[str]:
        return ("127.0.0.2", "127.0.0.1")

    private = (f"127.0.0.1:{port}", f"127.0.0.2:{port}")
    named = FetchConfig(allow=(f"two.example:{port}",), allow_private=private, resolve=resolve)
    assert (await fetch(f"http://two.example:{port}/a", named)).content == b"found"


async def unsized() -> AsyncIterator[bytes]:
    for _ in range(20):
        yield b"x" * 100


async def slow() -> AsyncIterator[bytes]:
    for _ in range(100):
        yield b"x"
        await asyncio.sleep(0.02)


BOMB = gzip.compress(b"\0" * 50_000_000)


@pytest.mark.parametrize(
    ("body", "headers", "message"),
    [
        (b"x" * 1_001, {}, "more than 1,000 bytes"),
        (b"", {"content_length": "1001"}, "more than 1,000 bytes"),
        (unsized, {}, "more than 1,000 bytes"),
        (BOMB, {"content_encoding": "gzip"}, "more than 1,000 bytes"),
        (zlib.compress(b"\0" * 10_000), {"content_encoding": "deflate"}, "more than 1,000 bytes"),
        (b"x", {"content_encoding": "br"}, "packed as 'br'"),
        (b"x", {"content_encoding": "gzip, gzip"}, "packed as 'gzip, gzip'"),
        (b"plain", {"content_encoding": "gzip"}, "is not: "),
        (gzip.compress(b"abc", mtime=0)[:-6], {"content_encoding": "gzip"}, "ended before it was whole"),
        (b"MZ", {"content_type": "application/x-msdownload"}, "is application/x-msdownload; allowed is text/"),
        (slow, {}, "longer than 0.5 s"),
    ],
)
async def test_an_answer_is_bounded_in_size_time_and_kind(
    site: Site, config: FetchConfig, body: Any, headers: dict[str, Any], message: str
) -> None:
    bounded = replace(config, max_bytes=1_000, seconds=0.5)
    assert message in str(await refusal(site.put("/a", body, **headers), bounded))


async def test_a_packed_answer_is_unpacked(site: Site, config: FetchConfig) -> None:
    url = site.put("/a", gzip.compress(b"abc" * 300), content_encoding="gzip")
    assert (await fetch(url, replace(config, max_bytes=900))).content == b"abc" * 300


@pytest.mark.parametrize(
    ("inputs", "headers", "message"),
    [
        ({}, {"content_type": "image/png"}, "no text; give a `path`"),
        ({}, {"content_type": "text/plain; charset=zip"}, "is not utf-8 text: byte 0, in line 1"),
        ({}, {"content_type": "text/plain; charset=none-such"}, "is not utf-8 text: byte 0, in line 1"),
        ({}, {"content_type": "text/plain; charset=utf-8"}, "is not utf-8 text: byte 0, in line 1"),
        ({"sha256": "0" * 64}, {}, "expected 0000"),
    ],
)
async def test_what_is_not_as_expected_fails(
    site: Site, config: FetchConfig, context: ToolContext, inputs: dict[str, str], headers: dict[str, Any], message: str
) -> None:
    url = site.put("/a", b"\xff\xd8\xff\xe0", **headers)
    with pytest.raises(ToolError, match=message) as caught:
        await fetch_tool(config).execute({"url": url, **inputs}, context)
    assert not caught.value.retryable


async def test_nobody_there_is_worth_another_try(site: Site) -> None:
    gone = ("127.0.0.1:1",)
    error = await refusal("http://127.0.0.1:1/", FetchConfig(allow=gone, allow_private=gone))
    assert error.retryable
    assert "ConnectError" in str(error)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A file with the key and the certificate of `secure.example`, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "secure.example")])
    now = dt.datetime.now(dt.UTC)
    names = [x509.DNSName("secure.example"), x509.IPAddress(ipaddress.ip_address("127.0.0.3"))]
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "certificate.pem"
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(private + made.public_bytes(pem))
    return path


async def test_tls_verifies_the_name_of_the_url_though_the_address_is_pinned(certificate: Path) -> None:
    site = Site()
    site.put("/a", b"safe")
    with serving(site, ssl_certfile=str(certificate)) as port:
        hosts = (f"secure.example:{port}", f"other.example:{port}", f"127.0.0.1:{port}")
        config = FetchConfig(
            allow=hosts,
            allow_private=(f"127.0.0.1:{port}",),
            ca_file=str(certificate),
            resolve=Rebinding("127.0.0.1"),
        )
        assert (await fetch(f"https://secure.example:{port}/a", config)).content == b"safe"
        for host in ("other.example", "127.0.0.1"):
            assert "CERTIFICATE_VERIFY_FAILED" in str(await refusal(f"https://{host}:{port}/a", config))
        untrusting = replace(config, ca_file=None)
        assert "CERTIFICATE_VERIFY_FAILED" in str(await refusal(f"https://secure.example:{port}/a", untrusting))
        site.put("/down", status=302, location=f"http://secure.example:{port}/a")
        assert "redirects from https to http" in str(await refusal(f"https://secure.example:{port}/down", config))


async def test_proxies_of_the_environment_are_not_used(
    site: Site, config: FetchConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    assert (await fetch(site.put("/a", b"direct"), config)).content == b"direct"


async def test_a_host_that_asks_to_wait_is_waited_for(site: Site, config: FetchConfig) -> None:
    url = site.put("/a", b"later", status=429, retry_after="1")
    fetching = asyncio.create_task(fetch(url, config))
    async with asyncio.timeout(60):
        while not site.asked:  # noqa: ASYNC110 - it happens in the server's thread
            await asyncio.sleep(0.01)
    site.put("/a", b"now", content_type="text/plain")
    assert (await fetching).content == b"now"
    assert len(site.asked) == 2
