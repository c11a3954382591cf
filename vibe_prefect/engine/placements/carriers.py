"""Opens a placement by its kind."""

from __future__ import annotations

import os

from vibe_prefect.engine.placements.placement import Carrier
from vibe_prefect.engine.placements.process import ProcessCarrier
from vibe_prefect.errors import PlacementError
from vibe_prefect.settings.placements import PlacementKind, PlacementSettings


async def open_carrier(name: str, settings: PlacementSettings) -> Carrier:
    """Open a placement.

    Args:
        name: Its name.
        settings: Its settings.

    Raises:
        PlacementError: It cannot be opened.
    """
    match settings.kind:
        case PlacementKind.PROCESS:
            return ProcessCarrier(settings.workers or os.cpu_count() or 1)
        case PlacementKind.DASK:
            # Their libraries take their time, and are extras: the preflight has looked for them.
            from vibe_prefect.engine.placements.dask import open_dask

            return await open_dask(settings)
        case PlacementKind.RAY:
            from vibe_prefect.engine.placements.ray import open_ray

            return await open_ray(settings)
        case _:
            raise PlacementError(
                f"the placement {name!r} is of the kind {settings.kind}, which carries no single nodes"
            )
