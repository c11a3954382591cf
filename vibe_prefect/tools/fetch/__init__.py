"""Fetching from the web within the operator's bounds."""

__all__: list[str] = []
