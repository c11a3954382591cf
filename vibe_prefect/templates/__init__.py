"""Sandboxed Jinja within bounds of time and memory."""

__all__: list[str] = []
