"""Places of the keys that tools need, so that a plan can be refused before it runs, and a dry run can list them.

Wherever a key is read, `obtained` reads it: it is checked, and from then on hidden.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from vibe_prefect.errors import ToolError
from vibe_prefect.tools.secrecy.known import remember, secrets_in_address

SECRET = "secret"  # noqa: S105 - the word before a block's name
ENV = "env"


def no_key() -> str | None:
    """Return no key: a server asks for none, or its client library looks for its own in the environment."""
    return None


def obtained(read: Callable[[], str | None], address: str | None = None) -> str | None:
    """Return a key as it can be sent; it and the passwords of the address are hidden from now on.

    Args:
        read: Returns the key; it may take time.
        address: Address that the key will be sent to.

    Raises:
        ToolError: It holds what no key can hold; the key is not shown.
    """
    remember(*secrets_in_address(address or ""))
    key = read()
    return None if key is None else checked_key(key, "the key")


def checked_key(key: str, what: str) -> str:
    """Return a key without white space around it.

    Args:
        key: The key as it was read.
        what: What messages call it, such as `environment variable NAME`.

    Raises:
        ToolError: It is empty, or holds what no header can: control characters, or letters beyond ASCII.
    """
    stripped = key.strip()
    remember(stripped, key)
    if not stripped:
        raise ToolError(f"{what} holds no key: it is empty", retryable=False)
    if not (stripped.isascii() and stripped.isprintable()):
        raise ToolError(
            f"{what} holds a line break, another control character or a letter beyond ASCII, which no key can hold; "
            "set it to the key alone",
            retryable=False,
        )
    return stripped


@dataclass(frozen=True, slots=True)
class KeySource:
    """Place of a key."""

    place: str
    """`env:NAME` for a variable of the environment, `secret:name` for a Prefect Secret block."""

    remedy: str
    """Instruction for when there is none, such as `set NAME, which SETTING names`."""

    needed: bool = True
    """Whether the tool cannot work without it; a server at an address of one's own may ask for no key."""

    @property
    def block(self) -> str | None:
        """The name of the Secret block; `None` for a variable."""
        kind, _, name = self.place.partition(":")
        return name if kind == SECRET else None

    @property
    def is_set(self) -> bool | None:
        """Whether the variable holds anything but white space; `None` for a block, which only the server knows."""
        return None if self.block else bool((self._value or "").strip())

    @property
    def is_blank(self) -> bool:
        """Whether the variable is there and holds nothing but white space, which clients would send as a key."""
        return self.is_set is False and self._value is not None

    @property
    def lack(self) -> str | None:
        """Instruction to follow before a tool can run; `None` where nothing is known to be missing."""
        if self.is_blank:
            return f"{self.remedy}; that variable is there, but it is empty"
        return self.remedy if self.needed and self.is_set is False else None

    @property
    def _value(self) -> str | None:
        return None if self.block else os.environ.get(self.place.removeprefix(f"{ENV}:"))


def named_source(place: str | None, setting: str) -> tuple[KeySource, ...]:
    """Return the source of a key that a setting names; none where it is not set.

    Args:
        place: What the setting says.
        setting: Its environment variable.
    """
    if place is None:
        return ()
    name = place.partition(":")[2]
    remedy = f"set {name}" if place.startswith(f"{ENV}:") else f"save the Secret block {name!r} on the Prefect server"
    return (KeySource(place, f"{remedy}, where {setting} says that the key is"),)
