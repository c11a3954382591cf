"""Placements: where nodes may run besides the process of the run. The operator names them, and plans ask by name.

For example in `prefect.toml`:

    [integrations.vibe_prefect.placements.renderers]
    kind = "process"
    workers = 4
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, model_validator

from vibe_prefect.core.budget import MAX_CONCURRENCY
from vibe_prefect.text.documented import Documented


class PlacementKind(StrEnum):
    """Carriers of work."""

    PROCESS = "process"
    DASK = "dask"
    RAY = "ray"
    DEPLOYMENT = "deployment"


class PlacementSettings(Documented):
    """A placement."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: PlacementKind
    """What carries the work there: `process`, other processes of this machine; `dask` and `ray`, a cluster;
    `deployment`, a deployment on a work pool."""

    concurrency: Annotated[int, Field(ge=1, le=MAX_CONCURRENCY)] | None = None
    """Largest number of a run's nodes there at once. Default: as many as it has workers, or no limit."""

    workers: Annotated[int, Field(ge=1, le=1_000)] | None = None
    """Number of processes, for `process` and for clusters that the run starts itself. Default: the machine's cores."""

    address: str | None = None
    """Address of the cluster, for `dask` and `ray`. Default: a cluster on this machine that the run starts."""

    options: dict[str, Any] = Field(default_factory=dict[str, Any])
    """Further options of the cluster that the run starts, as its own library names them."""

    deployment: Annotated[str, Field(pattern="^[^/]+/[^/]+$")] | None = None
    """Name of the deployment, `run-plan/<deployment>`, for `deployment`."""

    shares_files: bool = False
    """Whether it sees the folders of the run under the same paths, for clusters with an address and for `deployment`.
    Processes and clusters of this machine always do."""

    @model_validator(mode="after")
    def _names_its_deployment(self) -> Self:
        if (self.kind is PlacementKind.DEPLOYMENT) != (self.deployment is not None):
            raise ValueError(
                "`deployment` names the deployment of a placement of the kind `deployment`, such as `run-plan/farm`; "
                "other kinds have none"
            )
        return self
