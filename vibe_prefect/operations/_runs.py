"""The runs that a Prefect server has on record, the report of one of them, and the explanation of its nodes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vibe_prefect.engine.runs.node_outputs import RunOutputs
    from vibe_prefect.engine.runs.run_list import RunRow
    from vibe_prefect.reporting.explanations.explain import NodeExplanation
    from vibe_prefect.reporting.report import RunReport


async def list_runs(limit: int = 20, *, storage: str | Path | None = None) -> list[RunRow]:
    """Return the newest runs of plans, newest first, each with its progress and its size on disk.

    Args:
        limit: How many runs at most.
        storage: Where records are kept: a folder, or a saved Prefect block as `<block type>/<name>`; by default as the
            settings say.
    """
    from prefect.client.orchestration import get_client

    from vibe_prefect.engine.records.storage import open_store
    from vibe_prefect.engine.runs.run_list import list_runs as rows_of

    store = await open_store(storage)
    async with get_client() as client:
        return await rows_of(client, store, limit)


async def report(run: str | None = None, *, storage: str | Path | None = None) -> RunReport:
    """Return the report of a run, whether it has ended, is at work, was killed, or ran on another machine.

    Args:
        run: Its name or id; `None` for the newest run.
        storage: Where records are kept; see `list_runs`.

    Raises:
        UnknownRunError: The server does not know the run, or the run has no plan.
    """
    from vibe_prefect.engine.runs.load_report import load_report

    return await load_report(run, storage)


async def explain(run: str | None, node: str, *, storage: str | Path | None = None) -> NodeExplanation:
    """Explain a node of a run: which run, model and prompt made its result, and why it was accepted or refused.

    Args:
        run: The run's name or id; `None` for the newest run.
        node: The node's id.
        storage: Where records are kept; see `list_runs`.

    Raises:
        UnknownRunError: The server does not know the run, or the run has no plan.
        UsageError: The run has no such node.
    """
    from vibe_prefect.reporting.explanations.explain import explain as explanation_of

    return explanation_of(await report(run, storage=storage), node)


async def output(
    run: str | None = None,
    node: str | None = None,
    *,
    to: str | Path | None = None,
    storage: str | Path | None = None,
) -> RunOutputs:
    """Return what a run made, whole, and copy it where that is asked for.

    Args:
        run: Its name or id; `None` for the newest run.
        node: Id of the node whose output it is; `None` for the results of the run: what its last nodes made, and each
            picture, sound and film.
        to: Folder to copy the files and texts to; what is there under their names is replaced.
        storage: Where records are kept; see `list_runs`.

    Raises:
        UnknownRunError: The server does not know the run, or the run has no plan.
        UsageError: The run has no such node, the node has no output, or a file is gone.
    """
    from vibe_prefect.engine.runs.node_outputs import load_outputs

    return await load_outputs(run, node, Path(to) if to is not None else None, storage)
