"""The configured tools, at the address that programs written for earlier versions import; see `configured_tools`."""

from __future__ import annotations

from vibe_prefect.engine.inputs.configured_tools import configured_registry

__all__ = ["configured_registry"]
