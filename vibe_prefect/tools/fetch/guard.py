"""The guard between tools and the network: which hosts and addresses may be reached at all.

What may be fetched is the operator's word (`FetchConfig`), never a plan's. A name is looked up once, every address it
has is checked, and the connection goes to the very address that was checked: between check and connect there is no
second lookup that could answer otherwise.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from vibe_prefect.errors import ToolError, UsageError, shorten

if TYPE_CHECKING:
    import ssl

    import httpx

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Endpoint = tuple[IPAddress, int]
"""An address and a port."""

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""Looks up the addresses of a host for a port."""

WEB_PORTS = {"http": 80, "https": 443}
"""The schemes that may be fetched, and the ports that need no mention in the allow-list."""

MAX_URL = 2_000
"""The longest URL, in characters."""

SETTING = "PREFECT_INTEGRATIONS_VIBE_PREFECT_FETCH_ALLOW"
"""The environment variable of the operator's allow-list."""

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*")
_AUTHORITY = re.compile(r"[^:/?#]+://([^/?#]*)")
_UNSAFE = re.compile(r"[\x00-\x20\x7f\\]|\s")
_PORT = re.compile(r":(\d{1,5})$")

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_CLOSED = tuple(
    ipaddress.ip_network(network)
    for network in (
        "192.88.99.0/24",  # 6to4 relays, RFC 7526
        "64:ff9b:1::/48",  # NAT64 of a site's own, RFC 8215
        "2001::/32",  # Teredo, RFC 4380
        "3fff::/20",  # documentation, RFC 9637
        "5f00::/16",  # segment routing, RFC 9602
        "fec0::/10",  # site-local, RFC 3879
    )
)
"""Networks that not every supported Python counts as not global."""


def is_public(address: IPAddress) -> bool:
    """Tell whether an address is one of the public internet, and so is every address that it stands for.

    An IPv6 address can carry an IPv4 one (mapped, 6to4, NAT64) and lead there; it is judged by that.
    """
    carried = _carried(address)
    if carried is not None:
        return is_public(carried)
    if any(address.version == network.version and address in network for network in _CLOSED):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _carried(address: IPAddress) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address within an IPv6 one."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


async def system_resolver(host: str, port: int) -> Sequence[str]:
    """Ask the system for a host's addresses.

    Raises:
        OSError: The name has none, or nobody answered.
    """
    import socket

    import anyio

    results = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(address[0]) for *_, address in results))


@dataclass(frozen=True)
class FetchConfig:
    """Limits for what tools may fetch, set by the operator. By default: nothing."""

    allow: tuple[str, ...] = ()
    """Hosts: `example.org`, `*.example.org` for those below it, `*` for every public one; `:port` behind it for
    another port than 80 and 443."""

    allow_private: tuple[str, ...] = ()
    """Addresses with their ports that may be reached though they are not public, such as `127.0.0.1:8080`: for tests
    and intranets. The host must be named in `allow` too, without a `*`. A redirect never leads to one."""

    types: tuple[str, ...] = ("text/", "image/", "audio/", "application/json", "application/xml", "application/pdf")
    """Beginnings of media types; `+json` and `+xml` count as their base."""

    max_bytes: int = 10_000_000
    """The largest answer, in bytes, also after it is unpacked."""

    seconds: float = 30.0
    """Time limit of one fetch in seconds, redirects included."""

    max_redirects: int = 5
    """Redirects that are followed."""

    ca_file: str | None = None
    """A PEM file of certificate authorities to trust instead of the public ones."""

    resolve: Resolver = system_resolver
    """Function that looks names up."""

    def __post_init__(self) -> None:
        """Check the lists by reading them.

        Raises:
            UsageError: An entry is not written as it must be.
        """
        _ = self.rules, self.private

    @cached_property
    def rules(self) -> tuple[HostRule, ...]:
        """The allow-list, read."""
        return tuple(map(_rule, self.allow))

    @cached_property
    def private(self) -> frozenset[Endpoint]:
        """The addresses that may be reached though they are not public."""
        return frozenset(map(_endpoint, self.allow_private))

    @cached_property
    def tls(self) -> ssl.SSLContext:
        """TLS settings that servers' certificates are checked with."""
        import httpx

        return httpx.create_ssl_context(verify=True if self.ca_file is None else _own_authorities(self.ca_file))


def _own_authorities(path: str) -> ssl.SSLContext:
    import ssl

    try:
        return ssl.create_default_context(cafile=path)
    except OSError as error:
        raise UsageError(f"fetch: ca_file {path!r} cannot be used: {error}; name a PEM file") from error


@dataclass(frozen=True, slots=True)
class HostRule:
    """One entry of the allow-list."""

    host: str
    """The host; of a wildcard what follows the `*`, dot included."""

    port: int | None
    """The one port, or `None` for 80 and 443."""

    wildcard: bool
    """Whether it stands for many hosts."""

    def allows(self, target: Target) -> bool:
        """Tell whether the rule is about that host and port."""
        ports = WEB_PORTS.values() if self.port is None else (self.port,)
        host_matches = target.host.endswith(self.host) if self.wildcard else target.host == self.host
        return host_matches and target.port in ports


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that was taken apart, once: what is checked is what is asked for."""

    url: httpx.URL
    """The URL."""

    host: str
    """Its host: lower case, ASCII, without a dot at its end; an IPv6 address without brackets."""

    port: int
    """Its port."""

    literal: IPAddress | None
    """The address, where the host is one."""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.url.scheme}://{host}:{self.port}"


def read_target(text: str) -> Target:
    """Take a URL apart.

    Raises:
        ToolError: It is not a plain http or https URL: another scheme, a user or password in it, a host that two
            programs could read differently (numbers that are not a dotted IPv4 address, escapes, zone ids).
    """
    import httpx  # only here: it takes 0.1 s, which plans that fetch nothing need not spend

    if len(text) > MAX_URL:
        raise _refused(text, f"it has {len(text):,} characters; at most {MAX_URL:,} are taken")
    if _UNSAFE.search(text):
        raise _refused(text, "it holds a space, a control character or a backslash")
    try:
        url = httpx.URL(text)
        raw = url.raw_host.decode("ascii").lower()
    except (httpx.InvalidURL, ValueError) as error:
        raise _refused(text, f"it is not a URL: {error}") from error
    return _checked(text, url, raw.removesuffix("."))


def _checked(text: str, url: httpx.URL, host: str) -> Target:
    authority = _AUTHORITY.match(text)
    if url.scheme not in WEB_PORTS or authority is None:
        raise _refused(text, "only http:// and https:// URLs are fetched")
    if "@" in authority[1]:
        raise ToolError("fetch: a URL with a user or password in it is refused; leave out what precedes the @", **_STAY)
    port = url.port if url.port is not None else WEB_PORTS[url.scheme]
    if not 0 < port < 65_536:
        raise _refused(text, f"port {port} does not exist")
    literal = _literal(text, host)
    return Target(url, str(literal) if literal else host, port, literal)


def _literal(text: str, host: str) -> IPAddress | None:
    """Return the address that a host is; `None` for a name. What may be read as either is refused."""
    if "%" in host:
        raise _refused(text, "its host has a zone id or an escape in it; write the plain name")
    if ":" in host:
        return _address(text, host)
    if _NUMBER.fullmatch(host.rpartition(".")[2]):
        return _address(text, host)
    if len(host) > 253 or not _NAME.fullmatch(host):
        raise _refused(text, f"{host!r} is not a host name")
    return None


def _address(text: str, host: str) -> IPAddress:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        raise _refused(text, f"host {host!r} is a number but no address as in 203.0.113.7 or [2001:db8::7]") from None


_STAY = {"retryable": False}


def _refused(url: str, reason: str) -> ToolError:
    return ToolError(f"fetch: {shorten(url, 100)} is refused: {reason}", retryable=False)


def _rule(entry: str) -> HostRule:
    port = _PORT.search(entry)
    if _PORT.sub("", entry) == "*":
        return HostRule("", int(port[1]) if port else None, wildcard=True)
    wildcard = entry.startswith("*.")
    try:
        target = read_target(f"http://{entry.removeprefix('*.')}")
    except ToolError as error:
        raise UsageError(f"fetch: allow-list entry {entry!r} is not a host: {error}") from error
    if target.url.path != "/" or target.url.query or (wildcard and target.literal):
        raise UsageError(f"fetch: allow-list entry {entry!r} is not a host; write 'example.org' or '*.example.org'")
    host = f".{target.host}" if wildcard else target.host
    return HostRule(host, int(port[1]) if port else None, wildcard)


def _endpoint(entry: str) -> Endpoint:
    port = _PORT.search(entry)
    try:
        target = read_target(f"http://{entry}")
    except ToolError as error:
        raise UsageError(f"fetch: private address {entry!r} is not an address with a port: {error}") from error
    if target.literal is None or target.url.path != "/" or port is None:
        raise UsageError(f"fetch: private address {entry!r} is not an address with a port; write '127.0.0.1:8080'")
    return target.literal, target.port


@dataclass(frozen=True, slots=True)
class Admission:
    """A URL that may be fetched, with the addresses that were checked."""

    target: Target
    """The URL."""

    addresses: tuple[IPAddress, ...]
    """Addresses that it may be fetched from, in the resolver's order."""

    named: bool = True
    """Whether the plan named the URL; if not, a server did."""

    @property
    def shown(self) -> str:
        """The URL for records and messages: of a server's without the query, which often holds a signature."""
        url = self.target.url
        return str(url if self.named else url.copy_with(query=None, fragment=None))

    @property
    def endpoints(self) -> frozenset[Endpoint]:
        """The addresses with the port."""
        return frozenset((address, self.target.port) for address in self.addresses)


async def admit(
    target: Target, config: FetchConfig, *, after: Admission | None = None, named: bool = True
) -> Admission:
    """Look a URL's host up, once, and check every address that it has.

    Args:
        target: The URL.
        config: What the operator allows.
        after: The fetch's first admission, when this URL came from a redirect. An exemption for private addresses does
            not pass on to other addresses than those that the plan's own URL led to.
        named: Whether the plan named the URL, when it came from no redirect.

    Raises:
        ToolError: The host is not in the allow-list, one of its addresses is not public, or it has none.
    """
    rules = [rule for rule in config.rules if rule.allows(target)]
    if not rules:
        raise _unlisted(target, config)
    exempt = frozenset[Endpoint]() if all(rule.wildcard for rule in rules) else config.private
    if after is not None:
        exempt &= after.endpoints
    addresses = (target.literal,) if target.literal else await _look_up(target, config.resolve)
    for address in addresses:
        if not is_public(address) and (address, target.port) not in exempt:
            raise _not_public(target, address)
    return Admission(target, addresses, named=named and after is None)


def _unlisted(target: Target, config: FetchConfig) -> ToolError:
    listed = ", ".join(config.allow) or "nothing"
    return ToolError(
        f"fetch: {target} is not in the operator's allow-list ({listed}); whoever runs this can add it by {SETTING}",
        retryable=False,
    )


def _not_public(target: Target, address: IPAddress) -> ToolError:
    resolved = "" if target.literal else f", the address of {target.host!r},"
    return ToolError(f"fetch: {address}{resolved} is not a public address and is not fetched from", retryable=False)


async def _look_up(target: Target, resolve: Resolver) -> tuple[IPAddress, ...]:
    try:
        addresses = await resolve(target.host, target.port)
    except OSError as error:
        raise ToolError(f"fetch: host {target.host!r} could not be looked up: {error}") from error
    if not addresses:
        raise ToolError(f"fetch: host {target.host!r} has no address")
    return tuple(ipaddress.ip_address(address.partition("%")[0]) for address in addresses)
