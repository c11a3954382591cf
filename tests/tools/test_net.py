"""The guard: which URLs, hosts and addresses may be reached."""

from __future__ import annotations

import contextlib
import ipaddress
import pickle
import socket
import subprocess
import sys
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vibe_prefect.errors import ToolError, UsageError
from vibe_prefect.tools.fetch.guard import FetchConfig, admit, is_public, read_target


def answering(*addresses: str) -> FetchConfig:
    """Everything is allowed, and every name has these addresses."""

    async def resolve(host: str, port: int) -> Sequence[str]:
        return addresses

    return FetchConfig(allow=("*", "*:8080"), resolve=resolve)


PUBLIC = ["8.8.8.8", "2606:4700::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1"]

NOT_PUBLIC = [
    "0.0.0.0",  # noqa: S104
    "10.1.2.3",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:a9fe:a9fe",
    "64:ff9b::127.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::1",
    "2001:0:7f00:1::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "2002:a9fe:a9fe::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_known(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", NOT_PUBLIC)
async def test_any_other_address_is_refused_also_when_a_name_leads_there(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))
    shown = f"[{address}]" if ":" in address else address
    for url, config in (
        (f"http://{shown}/", FetchConfig(allow=("*",))),
        ("http://inward.example/", answering(address)),
        ("http://inward.example/", answering("8.8.8.8", address)),
    ):
        with pytest.raises(ToolError, match="is not a public address") as caught:
            await admit(read_target(url), config)
        assert not caught.value.retryable


@pytest.mark.parametrize(
    "url",
    [
        "http://2130706433/",
        "http://017700000001/",
        "http://0x7f000001/",
        "http://0x7f.0.0.1/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://0/",
        "http://256.0.0.1/",
        "http://127.0.0.1.0x7f/",
        "http://example.org.1/",
        "http://①②⑦.0.0.1/",
        "http://\uff11\uff12\uff17.0.0.1/",
        "http://ⓛocalhost/",
        "http://127%2e0%2e0%2e1/",
        "http://%6c%6f%63alhost/",
        "http://example.org%00.evil.example/",
        "http://example.org%2f@evil.example/",
        "http://[fe80::1%eth0]/",
        "http://[fe80::1%25eth0]/",
        "http://[2606:4700::1%25lo]/",
        "http://[::1/",
        "http://[127.0.0.1]/",
        "http://user@example.org/",
        "http://user:password@example.org/",
        "http://@example.org/",
        "http://example.org\\@127.0.0.1/",
        "http:\\\\127.0.0.1/",
        "http:/127.0.0.1/",
        "http:///127.0.0.1/",
        "http:127.0.0.1",
        "//example.org/",
        "example.org",
        "file:///etc/passwd",
        "ftp://example.org/",
        "gopher://example.org/",
        "data:text/plain,x",
        "http://example.org:0/",
        "http://example.org:99999/",
        "http://example.org:80:80/",
        "http://exa mple.org/",
        "http://example.org/\r\nHost: evil.example",
        "http://example.org/\x00",
        " http://example.org/",
        "http://-example.org/",
        "http://xn--127-/",
        f"http://{'a' * 64}.example/",
        f"http://example.org/{'a' * 2000}",
        "",
    ],
)
def test_a_url_that_could_be_read_in_two_ways_is_refused(url: str) -> None:
    with pytest.raises(ToolError, match=r"^fetch: ") as caught:
        read_target(url)
    assert not caught.value.retryable
    assert "password@" not in str(caught.value)


@given(st.text("0123456789abcdefx.%-_:@/\\?#[]", max_size=20))
def test_no_host_that_passes_as_a_name_is_a_number_to_the_system(host: str) -> None:
    try:
        target = read_target(f"http://{host}/")
    except ToolError:
        return
    if target.literal is None:
        with pytest.raises(OSError, match="illegal IP address"):
            socket.inet_aton(target.host)


@given(st.text(max_size=30))
def test_any_text_is_a_target_or_a_refusal(text: str) -> None:
    for url in (text, f"http://{text}", f"http://{text}/", f"https://example.org/{text}"):
        with contextlib.suppress(ToolError):
            assert read_target(url).host


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("http://Example.ORG", "example.org", 80),
        ("HTTPS://example.org./x?y#z", "example.org", 443),
        ("http://example.org:8080/?u=user@host", "example.org", 8080),
        ("http://example.org/#@127.0.0.1/", "example.org", 80),
        ("http://bücher.example/", "xn--bcher-kva.example", 80),
        ("http://127。0。0。1/", "127.0.0.1", 80),
        ("http://127.0.0.1./", "127.0.0.1", 80),
        ("http://[2606:4700:0:0::1]/", "2606:4700::1", 80),
        ("http://a_b.example/", "a_b.example", 80),
    ],
)
def test_a_plain_url_is_taken_apart(url: str, host: str, port: int) -> None:
    target = read_target(url)
    assert (target.host, target.port) == (host, port)


@pytest.mark.parametrize(
    ("entry", "allowed", "refused"),
    [
        ("example.org", ["http://example.org", "https://EXAMPLE.org.:443/x"], ["http://a.example.org", "http://org"]),
        ("example.org:8080", ["http://example.org:8080"], ["http://example.org", "https://example.org"]),
        ("example.org:80", ["http://example.org"], ["https://example.org"]),
        ("*.example.org", ["http://a.b.example.org"], ["http://example.org", "http://badexample.org"]),
        ("*", ["http://anything.example"], ["http://anything.example:8080"]),
        ("bücher.example", ["http://xn--bcher-kva.example"], ["http://bucher.example"]),
        ("[2606:4700::1]:81", ["http://[2606:4700:0::1]:81"], ["http://[2606:4700::1]"]),
    ],
)
async def test_an_entry_of_the_allow_list_means_what_it_says(
    entry: str, allowed: list[str], refused: list[str]
) -> None:
    config = FetchConfig(allow=(entry,), resolve=answering("8.8.8.8").resolve)
    for url in allowed:
        assert (await admit(read_target(url), config)).addresses
    for url in refused:
        with pytest.raises(ToolError, match=r"is not in the operator's allow-list \(.*FETCH_ALLOW"):
            await admit(read_target(url), config)


async def test_by_default_nothing_is_allowed() -> None:
    with pytest.raises(ToolError, match=r"allow-list \(nothing\)"):
        await admit(read_target("https://example.org"), FetchConfig())


async def test_the_hosts_of_this_machine_lead_inward() -> None:
    with pytest.raises(ToolError, match="the address of 'localhost', is not a public address"):
        await admit(read_target("http://localhost/"), FetchConfig(allow=("*", "localhost")))


async def test_a_private_address_needs_its_own_port_and_a_host_that_is_named() -> None:
    inward = answering("127.0.0.1").resolve
    private = ("127.0.0.1:8080",)
    named = FetchConfig(allow=("inside.example:8080", "inside.example:8081"), allow_private=private, resolve=inward)
    anyone = FetchConfig(allow=("*", "*:8080"), allow_private=private, resolve=inward)
    assert (await admit(read_target("http://inside.example:8080"), named)).addresses
    for config, url in ((named, "http://inside.example:8081"), (anyone, "http://inside.example:8080")):
        with pytest.raises(ToolError, match="is not a public address"):
            await admit(read_target(url), config)


@pytest.mark.parametrize(
    "lists",
    [
        {"allow": ("http://example.org",)},
        {"allow": ("example.org/path",)},
        {"allow": ("*.127.0.0.1",)},
        {"allow": ("",)},
        {"allow": ("*.*",)},
        {"allow_private": ("127.0.0.1",)},
        {"allow_private": ("localhost:80",)},
        {"allow_private": ("10.0.0.0/8:80",)},
    ],
)
def test_a_list_that_is_not_written_right_is_a_usage_error(lists: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(UsageError, match=r"^fetch: "):
        FetchConfig(**lists)  # pyright: ignore[reportArgumentType]


def test_a_tool_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(ToolError("no", retryable=False, retry_after=2.0)))  # noqa: S301
    assert (str(error), error.retryable, error.retry_after) == ("no", False, 2.0)


@pytest.mark.parametrize("wrong", ['allow=("https://example.org/x",)', 'allow_private=("intranet",)'])
def test_a_wrong_allow_list_is_refused_by_optimized_python_too(wrong: str) -> None:
    program = f"from vibe_prefect.tools.fetch.guard import FetchConfig; FetchConfig({wrong})"
    ran = subprocess.run([sys.executable, "-O", "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert "vibe_prefect.errors.UsageError: " in ran.stderr
