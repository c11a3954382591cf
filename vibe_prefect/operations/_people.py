"""People who decide about runs: their names and their reasons, as they are kept."""

from __future__ import annotations

import getpass

from vibe_prefect.errors import UsageError
from vibe_prefect.tools.secrecy.known import scrubbed

MAX_REASON = 2_000
"""Longest reason or comment, in characters."""

MAX_NAME = 200
"""Longest name of a person, in characters."""


def person_name(by: str | None) -> str:
    """Return the name of a person; by default the login name.

    Raises:
        UsageError: The name is empty or too long, or the process has no login name.
    """
    if by is not None:
        return one_line(by, "--by", MAX_NAME)
    try:
        return one_line(getpass.getuser(), "the login name", MAX_NAME)
    except (OSError, KeyError, ImportError):
        raise UsageError("this process has no login name: say who decides with --by NAME") from None


def one_line(value: str, option: str, most: int) -> str:
    """Return a text on one line, without secrets.

    Args:
        value: The text.
        option: The option that it comes from, for messages.
        most: Its largest number of characters.

    Raises:
        UsageError: It is empty or too long.
    """
    line = scrubbed(" ".join(value.split()))
    if not line:
        raise UsageError(f"{option} is empty: expected a text that says who decides, or why")
    if len(line) > most:
        raise UsageError(f"{option} has {len(line):,} characters: expected {most:,} at most")
    return line
