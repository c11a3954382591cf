"""Failed nodes of a run for the terminal: each error once, with the nodes that failed for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.text import Text

from vibe_prefect.cli.display.lines import counted, one_line, wrapped_error

MAX_ERRORS = 20
"""Errors that are shown in full before their nodes are only counted."""

MAX_NAMED = 8
"""Nodes that are named before one error; the rest is counted."""


def failure_lines(failed: Iterable[tuple[str, str | None]], width: int | None) -> Iterator[Text]:
    """Yield lines with the failed nodes and their errors; nodes that failed for the same reason stand together.

    Args:
        failed: Id and error of each failed node, in order.
        width: Largest width of a line in columns; `None` for no limit.
    """
    ids_by_error: dict[str | None, list[str]] = {}
    for id, error in failed:
        ids_by_error.setdefault(error, []).append(id)
    for error, ids in list(ids_by_error.items())[:MAX_ERRORS]:
        yield from wrapped_error(Text.assemble("  ", (_names(ids), "bold red"), ": "), error, width)
    omitted = sum(len(ids) for ids in list(ids_by_error.values())[MAX_ERRORS:])
    if omitted:
        yield Text(f"  and {omitted:,} more", "dim")


def _names(ids: list[str]) -> str:
    named = ", ".join(map(one_line, ids[:MAX_NAMED]))
    rest = len(ids) - MAX_NAMED
    return f"{named} and {counted(rest, 'other node')}" if rest > 0 else named
