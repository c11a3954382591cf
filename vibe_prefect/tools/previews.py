"""Previews of pictures, at the address that programs written for earlier versions import; see `media.previews`."""

from __future__ import annotations

from vibe_prefect.tools.media.previews import preview

__all__ = ["preview"]
