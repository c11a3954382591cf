"""Writes the checkpoints of a run during the run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from typing_extensions import override

from vibe_prefect.checkpoints.checkpoint import (
    VIBE_LENGTH,
    WorkflowCheckpoint,
    WorkflowPersistenceManager,
    checkpoint_path,
    new_checkpoint_id,
)
from vibe_prefect.checkpoints.data import CHECKPOINT_SCHEMA, run_data, to_text
from vibe_prefect.checkpoints.log import (
    LOG_SUFFIX,
    CheckpointLog,
    LogPart,
    feedback_line,
    node_line,
    plan_line,
    suggestion_line,
)
from vibe_prefect.core.models import WorkflowNode, WorkflowPlan
from vibe_prefect.core.progress import AddedNode, RunObserver
from vibe_prefect.errors import CheckpointFileError
from vibe_prefect.results import ExecutionResult, ExecutionStatus, NodeResult, now_iso
from vibe_prefect.tools.workspace import replace_file

logger = logging.getLogger(__name__)


class CheckpointWriter(RunObserver):
    """An observer that writes a run's checkpoints. A failure to write is reported once, and does not stop the run.

    A checkpoint on the way is a head with a part of the run's log; the last is complete, a file like those of
    `save_checkpoint`.
    """

    def __init__(
        self,
        folder: str | Path,
        interval: int,
        *,
        node_keys: Mapping[str, str] | None = None,
        earlier: ExecutionResult | None = None,
        written: Callable[[str], None] | None = None,
    ) -> None:
        """Make a writer for one run.

        Args:
            folder: Folder for the checkpoints, created with the first of them.
            interval: Number of nodes that complete between two checkpoints.
            node_keys: The content key of each node.
            earlier: Nodes that an earlier run completed, which are reused. They are part of each checkpoint from the
                start, so that the newest is always enough to resume from.
            written: Called with the id of each checkpoint that was written.
        """
        self._folder = Path(folder)
        self._interval = interval
        self._node_keys = dict(node_keys or {})
        self._earlier = earlier
        self._written = written
        self._plan: WorkflowPlan | None = None
        self._result = ExecutionResult("")
        self._begun = 0.0
        self._log: CheckpointLog | None = None
        self._news = False
        self._completed = 0
        self._due = interval
        self._reported = False

    @override
    def run_started(self, plan: WorkflowPlan, groups: tuple[tuple[str, ...], ...], total: int, reused: int) -> None:
        """Begin; nothing is written yet."""
        self._plan = plan
        self._begun = time.perf_counter()
        self._result = ExecutionResult(plan.id, ExecutionStatus.RUNNING, execution_groups=[list(ids) for ids in groups])
        if self._earlier is not None:
            self._result.node_results = dict(self._earlier.node_results)
            self._result.feedback_data = dict(self._earlier.feedback_data)

    @override
    def nodes_added(self, composite: WorkflowNode, added: Sequence[AddedNode]) -> None:
        """Note the keys of the nodes that run for the items of a list."""
        self._node_keys |= {item.node.id: item.key for item in added}

    def feedback_recorded(self, node_id: str, feedback: dict[str, Any], suggestion: dict[str, Any] | None) -> None:
        """Note the feedback about a node."""
        self._result.add_feedback(node_id, feedback)
        self._add(lambda: feedback_line(node_id, feedback))
        if suggestion is not None:
            self._result.replan_suggestions.append(suggestion)
            self._add(lambda: suggestion_line(suggestion))

    def node_finished(self, node: WorkflowNode, result: NodeResult) -> None:
        """Note the node, and write a checkpoint when enough have completed."""
        self.node_reused(node, result)
        if result.status is ExecutionStatus.COMPLETED:
            self._completed += 1
            if self._completed >= self._due:
                self._due = self._completed + self._interval if self.write() else 2 * self._completed

    @override
    def node_reused(self, node: WorkflowNode, result: NodeResult) -> None:
        """Note a node that was not executed; it does not count."""
        self._result.add_node_result(result)
        self._add(lambda: node_line(result, self._key(result)))

    def run_finished(self, result: ExecutionResult) -> None:
        """Write the last checkpoint, a complete one."""
        assert self._plan is not None
        checkpoint = WorkflowCheckpoint(self._plan, result, node_keys=self._node_keys)
        try:
            WorkflowPersistenceManager(self._folder).save_checkpoint(checkpoint)
        except (OSError, CheckpointFileError) as error:
            self._report(error)
            return
        self._news = False
        self._announce(checkpoint.checkpoint_id)

    def close(self) -> None:
        """Write a last checkpoint of a run that was stopped, where there is something new."""
        if self._plan is not None and self._news:
            self.write()

    def write(self) -> bool:
        """Write a checkpoint of this moment, and return whether that worked."""
        assert self._plan is not None
        self._result.total_duration = time.perf_counter() - self._begun
        id = new_checkpoint_id(self._plan.id)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            part = self._write_log(self._plan)
            replace_file(checkpoint_path(self._folder, id), to_text(self._head(self._plan, id, part)))
        except (OSError, ValueError, TypeError) as error:
            self._report(error)
            return False
        self._news = False
        self._announce(id)
        return True

    def _write_log(self, plan: WorkflowPlan) -> LogPart:
        if self._log is not None:
            try:
                return self._log.write()
            except FileNotFoundError:  # with the last checkpoint that needed it, somebody deleted the log
                self._log = None
        log = CheckpointLog(self._folder / f"{new_checkpoint_id(plan.id)}{LOG_SUFFIX}", self._lines(plan))
        part = log.write()
        self._log = log
        return part

    def _lines(self, plan: WorkflowPlan) -> Iterator[bytes]:
        """Yield the lines about the plan and all results so far."""
        result = self._result
        yield plan_line(plan, result.execution_groups)
        yield from (feedback_line(id, feedback) for id, feedback in result.feedback_data.items())
        yield from (suggestion_line(suggestion) for suggestion in result.replan_suggestions)
        yield from (node_line(node, self._key(node)) for node in result.node_results.values())

    def _head(self, plan: WorkflowPlan, id: str, part: LogPart) -> dict[str, Any]:
        """Return the head of a checkpoint: the parts for a listing, and the reference to the log."""
        return {
            "schema_version": CHECKPOINT_SCHEMA,
            "checkpoint_id": id,
            "created_at": now_iso(),
            "plan": {"id": plan.id, "source_vibe": {"description": plan.source_vibe.description[:VIBE_LENGTH]}},
            "execution_result": run_data(self._result),
            "log": part.model_dump(),
        }

    def _key(self, result: NodeResult) -> str | None:
        return self._node_keys.get(result.node_id) if result.status is ExecutionStatus.COMPLETED else None

    def _add(self, line: Callable[[], bytes]) -> None:
        """Add a line to the log. Before the first checkpoint there is no log: it begins with all results until then."""
        self._news = True
        if self._log is None:
            return
        try:
            self._log.add(line())
        except (TypeError, ValueError) as error:
            self._report(error)

    def _announce(self, id: str) -> None:
        if self._written is not None:
            self._written(id)

    def _report(self, error: Exception) -> None:
        if self._reported:
            return
        self._reported = True
        logger.warning(
            "A checkpoint of %r in %s cannot be written; the run goes on: %s: %s",
            self._plan.id if self._plan else None,
            self._folder,
            type(error).__name__,
            error,
        )
