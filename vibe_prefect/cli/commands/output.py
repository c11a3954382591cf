"""`vibe-prefect output`: look at what a run made."""

from __future__ import annotations

from vibe_prefect.cli.commands.explain import explain_run


def output(run: str | None, node: str | None, *, as_json: bool) -> int:
    """Explain the nodes of a run."""
    return explain_run(run, node, as_json=as_json)
