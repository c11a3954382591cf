"""The contract's checkpoints: what a run had finished, as a file that a later run can start from.

A checkpoint is a file of JSON lines that only grows: a header with the plan, then a line for each thing that became
known. So its cost is linear in the plan, and a process that is killed while it writes loses the last line at most.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypedDict, cast
from uuid import uuid4

from pydantic import BaseModel, Field, ValidationError
from pydantic_core import PydanticSerializationError, from_json, to_json

from vibe_prefect.errors import (
    CheckpointIdError,
    CheckpointSchemaError,
    DamagedCheckpointError,
    ResultTypeError,
    UnknownCheckpointError,
    did_you_mean,
    shorten,
)
from vibe_prefect.models import WorkflowNode, WorkflowPlan
from vibe_prefect.progress import RunObserver
from vibe_prefect.results import ExecutionResult, ExecutionStatus, NodeResult, now_iso
from vibe_prefect.tools.workspace import replace_file

logger = logging.getLogger(__name__)

CHECKPOINT_SCHEMA: Literal["1.0"] = "1.0"
ID_FORM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
ID_RULE = "letters, digits, '.', '_' and '-', at most 200, the first a letter or a digit"
VIBE_LENGTH = 50
"""How many characters of the vibe's description a listing shows."""

SUFFIX = ".jsonl"


class CheckpointInfo(TypedDict):
    """A checkpoint in a listing."""

    checkpoint_id: str
    """Its id."""

    plan_id: str
    """Id of the plan that ran."""

    created_at: str
    """When it was made, ISO 8601."""

    status: str
    """How far the run had come; `running` also when its process ended without a word."""

    vibe_description: str
    """The first 50 characters of what was wanted."""


class WorkflowCheckpoint:
    """What a run had finished at some moment, and the plan that it ran."""

    def __init__(
        self,
        plan: WorkflowPlan,
        execution_result: ExecutionResult,
        checkpoint_id: str | None = None,
        *,
        created_at: str | None = None,
        node_keys: Mapping[str, str] | None = None,
    ) -> None:
        """Make a checkpoint; nothing is written.

        Args:
            plan: The plan that ran.
            execution_result: What came of it so far.
            checkpoint_id: Its id; by default the plan's id, the time and something random.
            created_at: When it was made; by default now.
            node_keys: The content keys under which its completed nodes ran, where they are known.
        """
        self.plan = plan
        """The plan that ran."""
        self.execution_result = execution_result
        """What came of it so far."""
        self.checkpoint_id: str = checkpoint_id or _new_id(plan.id)
        """Starts with the plan's id, and is unique."""
        self.created_at: str = created_at or now_iso()
        """When it was made, ISO 8601."""
        self.schema_version: str = CHECKPOINT_SCHEMA
        """The form of `to_dict` and of the file."""
        self.node_keys: dict[str, str] = dict(node_keys or {})
        """The content key of each completed node, by its id, where it is known. It tells what made a result."""

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON data.

        Raises:
            ResultTypeError: A node's result holds something that JSON cannot.
        """
        return _fold(b"".join(_lines(self)))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> WorkflowCheckpoint:
        """Return the checkpoint that `to_dict` told of.

        Raises:
            CheckpointSchemaError: It is of another schema version; a `ValueError`.
            ValueError: It is not a checkpoint.
        """
        version = data.get("schema_version")
        if version != CHECKPOINT_SCHEMA:
            id = data.get("checkpoint_id")
            raise CheckpointSchemaError(
                f"the checkpoint {shorten(id)} has the schema version {shorten(version)}, but this version of "
                f"vibe-prefect reads {CHECKPOINT_SCHEMA!r} only"
            )
        fields = _Fields.model_validate(dict(data))
        result = fields.execution_result
        result.node_results = _in_plan_order(fields.plan, result.node_results)
        return cls(fields.plan, result, fields.checkpoint_id, created_at=fields.created_at, node_keys=fields.node_keys)


class WorkflowPersistenceManager:
    """A folder of checkpoints."""

    def __init__(self, checkpoint_dir: str | Path = ".vibe_checkpoints") -> None:
        """Name the folder; it is made when the first checkpoint is saved."""
        self.checkpoint_dir = Path(checkpoint_dir)
        """The folder."""

    def save_checkpoint(self, checkpoint: WorkflowCheckpoint) -> str:
        """Write a checkpoint, whole or not at all, and return its id.

        Raises:
            CheckpointIdError: Its id is not a plain name.
            ResultTypeError: A node's result holds something that JSON cannot.
            OSError: The file cannot be written.
        """
        _create(self.path_of(checkpoint.checkpoint_id), b"".join(_lines(checkpoint)))
        return checkpoint.checkpoint_id

    def load_checkpoint(self, checkpoint_id: str) -> WorkflowCheckpoint:
        """Return a checkpoint.

        Raises:
            CheckpointIdError: The id is not a plain name; a `ValueError`.
            UnknownCheckpointError: There is none of that id; a `FileNotFoundError`.
            DamagedCheckpointError: Its file holds something else; a `RuntimeError`.
            CheckpointSchemaError: It is of another schema version; a `ValueError`.
        """
        path = self.path_of(checkpoint_id)
        try:
            content = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            hint = did_you_mean(checkpoint_id, (one.stem for one in self._paths()))
            raise UnknownCheckpointError(
                f"there is no checkpoint {checkpoint_id!r} in {self.checkpoint_dir}{hint}"
            ) from None
        try:
            return WorkflowCheckpoint.from_dict(_fold(content) | {"checkpoint_id": checkpoint_id})
        except CheckpointSchemaError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError) as error:  # shapes that no checkpoint has
            raise DamagedCheckpointError(f"the checkpoint {path} is damaged: {_reason(error)}") from error

    def list_checkpoints(self) -> list[CheckpointInfo]:
        """Return what checkpoints there are, newest first. One that cannot be read is logged and left out."""
        found = [info for path in self._paths() if (info := _info_of(path)) is not None]
        return sorted(found, key=lambda info: (info["created_at"], info["checkpoint_id"]), reverse=True)

    def delete_checkpoint(self, checkpoint_id: str) -> bool:
        """Delete a checkpoint and tell whether there was one.

        Raises:
            CheckpointIdError: The id is not a plain name; a `ValueError`.
        """
        try:
            self.path_of(checkpoint_id).unlink()
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def path_of(self, checkpoint_id: str) -> Path:
        """Return where a checkpoint lies.

        Raises:
            CheckpointIdError: The id is not a plain name; a `ValueError`.
        """
        if not ID_FORM.fullmatch(checkpoint_id):
            raise CheckpointIdError(f"{shorten(checkpoint_id)} cannot be the id of a checkpoint: expected {ID_RULE}")
        return self.checkpoint_dir / f"{checkpoint_id}{SUFFIX}"

    def _paths(self) -> list[Path]:
        if not self.checkpoint_dir.is_dir():
            return []
        return [path for path in self.checkpoint_dir.glob(f"*{SUFFIX}") if ID_FORM.fullmatch(path.stem)]


class CheckpointWriter(RunObserver):
    """An observer that keeps the checkpoint of one run. What it cannot write it reports once, and the run goes on."""

    def __init__(
        self,
        manager: WorkflowPersistenceManager,
        interval: int,
        *,
        node_keys: Mapping[str, str] | None = None,
        written: Callable[[str], None] | None = None,
    ) -> None:
        """Make a writer; a run needs one of its own.

        Args:
            manager: Where the checkpoint goes.
            interval: How many nodes complete between two writes.
            node_keys: The content key of each node.
            written: Called with the checkpoint's id after each write.
        """
        self._manager = manager
        self._interval = interval
        self._node_keys = node_keys or {}
        self._written = written
        self._checkpoint: WorkflowCheckpoint | None = None
        self._pending: list[bytes] = []
        self._completed = 0
        self._due = interval
        self._size: int | None = None
        self._reported = False

    def run_started(self, plan: WorkflowPlan, groups: tuple[tuple[str, ...], ...], total: int, reused: int) -> None:
        """Begin a checkpoint; nothing is written yet."""
        result = ExecutionResult(plan.id, ExecutionStatus.RUNNING, execution_groups=[list(group) for group in groups])
        self._checkpoint = WorkflowCheckpoint(plan, result)

    def node_finished(self, node: WorkflowNode, result: NodeResult) -> None:
        """Note the node, and write when enough have completed."""
        self._note(lambda: _node_line(result, self._node_keys.get(result.node_id)))
        if result.status is ExecutionStatus.COMPLETED:
            self._completed += 1
            if self._completed >= self._due:
                self._due = self._completed + self._interval if self.flush() else 2 * self._completed

    def node_reused(self, node: WorkflowNode, result: NodeResult) -> None:
        """Note the node as any other: this checkpoint stands without the earlier one."""
        self.node_finished(node, result)

    def run_finished(self, result: ExecutionResult) -> None:
        """Write the rest."""
        for line in (*_learned(result), lambda: _run_line(result)):
            self._note(line)
        self.flush()

    def flush(self) -> bool:
        """Write what is not written yet, and tell whether everything is; what is not is tried again later."""
        if self._checkpoint is None or not self._pending:
            return True
        try:
            self._write(self._checkpoint, b"".join(self._pending))
        except (OSError, ValueError) as error:
            self._report(error)
            return False
        self._pending.clear()
        if self._written is not None:
            self._written(self._checkpoint.checkpoint_id)
        return True

    def _write(self, checkpoint: WorkflowCheckpoint, content: bytes) -> None:
        path = self._manager.path_of(checkpoint.checkpoint_id)
        if self._size is None:
            content = b"".join(_lines(checkpoint)) + content
            _create(path, content)
            self._size = len(content)
            return
        with path.open("r+b") as file:
            file.truncate(self._size)  # what a write that failed left behind
            file.seek(self._size)
            file.write(content)
        self._size += len(content)

    def _note(self, line: Callable[[], bytes]) -> None:
        try:
            self._pending.append(line())
        except (TypeError, ValueError) as error:
            self._report(error)

    def _report(self, error: Exception) -> None:
        if self._reported:
            return
        self._reported = True
        logger.warning(
            "The checkpoint of %r in %s cannot be written, or not in full; the run goes on: %s: %s",
            self._checkpoint.plan.id if self._checkpoint else None,
            self._manager.checkpoint_dir,
            type(error).__name__,
            error,
        )


class _Fields(BaseModel):
    """What `from_dict` reads."""

    checkpoint_id: str
    created_at: str
    plan: WorkflowPlan
    execution_result: ExecutionResult
    node_keys: dict[str, str] = Field(default_factory=dict[str, str])


def _new_id(plan_id: str) -> str:
    return f"{plan_id}-{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid4().hex[:12]}"


def _create(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, content)


def _run_facts(result: ExecutionResult) -> dict[str, Any]:
    """Return what is known of the run as a whole and changes while it runs."""
    return {
        "plan_id": result.plan_id,
        "status": result.status,
        "started_at": result.started_at,
        "completed_at": result.completed_at,
        "total_duration": result.total_duration,
        "parallel_efficiency": result.parallel_efficiency,
    }


def _node_json(result: NodeResult) -> bytes:
    try:
        return to_json(result)
    except (PydanticSerializationError, ValueError) as error:
        kind = type(result.result).__name__
        raise ResultTypeError(f"the result of node {result.node_id!r}, a {kind}, cannot be JSON: {error}") from error


def _lines(checkpoint: WorkflowCheckpoint) -> Iterator[bytes]:
    """Yield a checkpoint's file line by line."""
    result = checkpoint.execution_result
    head: dict[str, Any] = {
        "schema_version": checkpoint.schema_version,
        "checkpoint_id": checkpoint.checkpoint_id,
        "created_at": checkpoint.created_at,
        "plan": checkpoint.plan,
        "execution_result": {
            **_run_facts(result),
            "execution_groups": result.execution_groups,
            "node_results": {},
            "feedback_data": {},
            "replan_suggestions": [],
        },
        "node_keys": {},
    }
    yield to_json(head) + b"\n"
    for one in result.node_results.values():
        yield _node_line(one, checkpoint.node_keys.get(one.node_id))
    for line in _learned(result):
        yield line()


_RUN = b'{"run":'
"""How the line about the run as a whole begins: a listing looks for it without decoding the others."""


def _node_line(result: NodeResult, key: str | None) -> bytes:
    key = key if result.status is ExecutionStatus.COMPLETED else None
    return b'{"node":' + _node_json(result) + b',"key":' + to_json(key) + b"}\n"


def _run_line(result: ExecutionResult) -> bytes:
    return _RUN + to_json(_run_facts(result)) + b"}\n"


def _learned(result: ExecutionResult) -> Iterator[Callable[[], bytes]]:
    """Yield what makes the lines about feedback."""
    for id, feedback in result.feedback_data.items():
        yield lambda id=id, feedback=feedback: to_json({"feedback": feedback, "id": id}) + b"\n"
    for suggestion in result.replan_suggestions:
        yield lambda suggestion=suggestion: to_json({"suggestion": suggestion}) + b"\n"


def _fold(content: bytes) -> dict[str, Any]:
    """Return the data of a checkpoint's file. What stands behind its last line end was cut off, and does not count.

    Raises:
        ValueError: The file holds something else.
    """
    *lines, _ = content.split(b"\n")
    if not lines:
        raise ValueError("it has no line")
    data = _object(1, lines[0])
    if data.get("schema_version") != CHECKPOINT_SCHEMA:
        return data
    for number, line in enumerate(lines[1:], 2):
        _add(data, number, _object(number, line))
    return data


def _object(number: int, line: bytes) -> dict[str, Any]:
    try:
        found = from_json(line)
    except ValueError as error:
        raise ValueError(f"line {number}: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"line {number}: expected an object, found {shorten(found)}")
    return cast("dict[str, Any]", found)


def _add(data: dict[str, Any], number: int, entry: dict[str, Any]) -> None:
    result = data["execution_result"]
    match entry:
        case {"node": {"node_id": str(id)} as node}:
            result["node_results"][id] = node
            if entry.get("key") is not None:
                data["node_keys"][id] = entry["key"]
        case {"feedback": feedback, "id": str(id)}:
            result["feedback_data"][id] = feedback
        case {"suggestion": suggestion}:
            result["replan_suggestions"].append(suggestion)
        case {"run": facts}:
            result.update(facts)
        case _:
            raise ValueError(f"line {number}: expected a part of a checkpoint, found {shorten(entry)}")


def _info_of(path: Path) -> CheckpointInfo | None:
    try:
        with path.open("rb") as file:
            head = _object(1, next(file, b""))
            facts = head["execution_result"]
            for number, line in enumerate(file, 2):
                if line.startswith(_RUN) and line.endswith(b"\n"):
                    facts = _object(number, line)["run"]
        return CheckpointInfo(
            checkpoint_id=path.stem,
            plan_id=str(head["plan"]["id"]),
            created_at=str(head["created_at"]),
            status=str(facts["status"]),
            vibe_description=str(head["plan"]["source_vibe"]["description"])[:VIBE_LENGTH],
        )
    except (OSError, ValueError, TypeError, KeyError) as error:
        logger.warning("The checkpoint %s cannot be read and is left out: %s", path, _reason(error))
        return None


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return f"it has no {error}" if isinstance(error, KeyError) else str(error)


def _in_plan_order(plan: WorkflowPlan, results: dict[str, NodeResult]) -> dict[str, NodeResult]:
    ordered: dict[str, NodeResult] = {}
    stack = plan.root_nodes[::-1]
    while stack:
        node = stack.pop()
        if node.id in results:
            ordered[node.id] = results[node.id]
        stack += node.children[::-1]
    return ordered | results
