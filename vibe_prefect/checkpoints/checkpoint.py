"""A checkpoint of the contract: finished nodes of a run as a file, from which a later run can start."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypedDict
from uuid import uuid4

from vibe_prefect.checkpoints.data import (
    CHECKPOINT_SCHEMA,
    from_text,
    plan_data,
    read_fields,
    reason_of,
    result_data,
    to_text,
)
from vibe_prefect.checkpoints.log import MAX_BYTES, has_log, log_of, unfold
from vibe_prefect.core.models import WorkflowPlan
from vibe_prefect.errors import (
    CheckpointFileError,
    CheckpointIdError,
    CheckpointSchemaError,
    DamagedCheckpointError,
    ResultTypeError,
    UnknownCheckpointError,
    did_you_mean,
    shorten,
)
from vibe_prefect.results import ExecutionResult, ExecutionStatus, now_iso
from vibe_prefect.text.regular_files import read_regular
from vibe_prefect.tools.workspace import replace_file

logger = logging.getLogger(__name__)

ID_FORM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
ID_RULE = "letters, digits, '.', '_' and '-', at most 200, the first a letter or a digit"
VIBE_LENGTH = 50
"""Number of characters of the vibe's description in a listing."""

SUFFIX = ".json"
_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_made: set[str] = set()
"""Ids that this process has made within the newest second."""

_making = threading.Lock()


class CheckpointInfo(TypedDict):
    """A checkpoint in a listing."""

    checkpoint_id: str
    """Its id."""

    plan_id: str
    """Id of the plan that ran."""

    created_at: str
    """Time of its creation, ISO 8601."""

    status: str
    """Status of the run; `running` also when its process was killed."""

    vibe_description: str
    """The first 50 characters of the vibe's description."""


class WorkflowCheckpoint:
    """A run at some moment: its plan, and the nodes that had finished."""

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
            execution_result: Result so far.
            checkpoint_id: Its id; by default a new one, see `new_checkpoint_id`.
            created_at: Time of its creation; by default now.
            node_keys: The content keys under which its completed nodes ran, where they are known.
        """
        self.plan = plan
        """The plan that ran."""
        self.execution_result = execution_result
        """Result so far."""
        self.checkpoint_id: str = checkpoint_id or new_checkpoint_id(plan.id)
        """Its id, which names its file."""
        self.created_at: str = created_at or now_iso()
        """Time of its creation, ISO 8601."""
        self.schema_version: str = CHECKPOINT_SCHEMA
        """The form of `to_dict` and of the file."""
        self.node_keys: dict[str, str] = dict(node_keys or {})
        """The content key of each completed node, by its id, where it is known: the key of all that made its result."""

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON data.

        Raises:
            ResultTypeError: A node's result is not JSON data.
        """
        completed = self.execution_result.ids(ExecutionStatus.COMPLETED)
        keys = {id: self.node_keys[id] for id in completed if id in self.node_keys}
        return {
            "schema_version": self.schema_version,
            "checkpoint_id": self.checkpoint_id,
            "created_at": self.created_at,
            "plan": plan_data(self.plan),
            "execution_result": result_data(self.execution_result),
            **({"node_keys": keys} if keys else {}),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> WorkflowCheckpoint:
        """Read a checkpoint from the data of `to_dict`, of this package or of the reference.

        Raises:
            CheckpointSchemaError: It is of another schema version; a `ValueError`.
            ValueError: It is not a checkpoint.
        """
        fields = read_fields(data)
        return cls(
            fields.plan,
            fields.execution_result,
            fields.checkpoint_id,
            created_at=fields.created_at,
            node_keys=fields.node_keys,
        )


class WorkflowPersistenceManager:
    """A folder of checkpoints."""

    def __init__(self, checkpoint_dir: str | Path = ".vibe_checkpoints") -> None:
        """Make the folder, and those above it, where they are missing.

        Raises:
            OSError: The folder cannot be made.
        """
        self.checkpoint_dir = checkpoint_dir
        """The folder, as it was given."""
        Path(checkpoint_dir).mkdir(parents=True, exist_ok=True)

    def save_checkpoint(self, checkpoint: WorkflowCheckpoint) -> str:
        """Write a checkpoint as one JSON object, whole or not at all, and return the path of its file.

        Raises:
            CheckpointFileError: It cannot be written, or is not JSON, or its id is not a plain name; a `RuntimeError`.
        """
        id = checkpoint.checkpoint_id
        try:
            path = checkpoint_path(self.checkpoint_dir, id)
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, to_text(checkpoint.to_dict(), indent=2))
        except (CheckpointIdError, ResultTypeError, OSError, TypeError, ValueError, RecursionError) as error:
            raise CheckpointFileError(f"Failed to save checkpoint {id}: {error}") from error
        return str(path)

    def load_checkpoint(self, checkpoint_id: str) -> WorkflowCheckpoint:
        """Return a checkpoint.

        Raises:
            CheckpointIdError: The id is not a plain name; a `ValueError`.
            UnknownCheckpointError: There is none of that id; a `FileNotFoundError`.
            DamagedCheckpointError: Its file cannot be read; a `RuntimeError`.
            CheckpointSchemaError: It is of another schema version; a `RuntimeError` and a `ValueError`.
        """
        return load_checkpoint(self.checkpoint_dir, checkpoint_id)

    def list_checkpoints(self) -> list[CheckpointInfo]:
        """List the checkpoints, newest first. An unreadable one is logged and left out."""
        infos = [info for path in checkpoint_files(self.checkpoint_dir) if (info := _info_of(path)) is not None]
        return sorted(infos, key=lambda info: (_moment(info["created_at"]), info["checkpoint_id"]), reverse=True)

    def delete_checkpoint(self, checkpoint_id: str) -> bool:
        """Delete a checkpoint, and return whether there was one.

        Raises:
            CheckpointIdError: The id is not a plain name; a `ValueError`.
            CheckpointFileError: It cannot be deleted; a `RuntimeError`.
        """
        path = checkpoint_path(self.checkpoint_dir, checkpoint_id)
        log = log_of(path)
        try:
            path.unlink()
            if log is not None and all(log_of(file) != log for file in checkpoint_files(self.checkpoint_dir)):
                log.unlink(missing_ok=True)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise CheckpointFileError(f"Failed to delete checkpoint {checkpoint_id}: {error}") from error
        return True


def new_checkpoint_id(plan_id: str) -> str:
    """Make an id, `<plan id>_<YYYYMMDD>_<HHMMSS>_<8 hex digits>` in UTC; no two of this process are the same."""
    with _making:
        second = f"{datetime.now(UTC):%Y%m%d_%H%M%S}"
        if not any(second in id for id in _made):
            _made.clear()
        while True:
            id = f"{plan_id}_{second}_{uuid4().hex[:8]}"
            if id not in _made:
                _made.add(id)
                return id


def checkpoint_path(folder: str | Path, checkpoint_id: str) -> Path:
    """Return the path of a checkpoint.

    Raises:
        CheckpointIdError: The id is not a plain name; a `ValueError`.
    """
    if not ID_FORM.fullmatch(checkpoint_id):
        raise CheckpointIdError(f"{shorten(checkpoint_id)} cannot be the id of a checkpoint: expected {ID_RULE}")
    return Path(folder) / f"{checkpoint_id}{SUFFIX}"


def checkpoint_files(folder: str | Path) -> Iterator[Path]:
    """Yield the files of a folder that have the name of a checkpoint."""
    yield from (path for path in Path(folder).glob(f"*{SUFFIX}") if ID_FORM.fullmatch(path.stem))


def load_checkpoint(folder: str | Path, checkpoint_id: str) -> WorkflowCheckpoint:
    """Return a checkpoint of a folder; see `WorkflowPersistenceManager.load_checkpoint`."""
    path = checkpoint_path(folder, checkpoint_id)
    failed = f"Failed to load checkpoint {checkpoint_id}"
    try:
        data = from_text(read_regular(path, MAX_BYTES))
        complete = unfold(data, path.parent) if "log" in data else data
        return WorkflowCheckpoint.from_dict(complete | {"checkpoint_id": checkpoint_id})
    except (FileNotFoundError, NotADirectoryError):
        hint = did_you_mean(checkpoint_id, (file.stem for file in checkpoint_files(folder)))
        raise UnknownCheckpointError(f"Checkpoint not found: {checkpoint_id} (in {folder}){hint}") from None
    except CheckpointSchemaError as error:
        raise CheckpointSchemaError(f"{failed}: {error}") from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:  # not a checkpoint's shape
        raise DamagedCheckpointError(f"{failed}: {path} is damaged: {reason_of(error)}") from error


def _info_of(path: Path) -> CheckpointInfo | None:
    try:
        data = from_text(read_regular(path, MAX_BYTES))
        if data.get("schema_version") != CHECKPOINT_SCHEMA:
            raise ValueError(f"Unsupported checkpoint schema version: {data.get('schema_version')}")
        if "log" in data and not has_log(data, path.parent):
            raise ValueError("its log is missing or cut off")
        return CheckpointInfo(
            checkpoint_id=path.stem,
            plan_id=str(data["plan"]["id"]),
            created_at=str(data["created_at"]),
            status=str(data["execution_result"]["status"]),
            vibe_description=str(data["plan"]["source_vibe"]["description"])[:VIBE_LENGTH],
        )
    except (OSError, ValueError, TypeError, KeyError) as error:
        logger.warning("The checkpoint %s cannot be read and is left out: %s", path, reason_of(error))
        return None


def _moment(created_at: str) -> datetime:
    """Parse a time for sorting; the reference writes local time without a time zone."""
    try:
        return datetime.fromisoformat(created_at).astimezone(UTC)
    except (ValueError, OverflowError):
        return _LONG_AGO
