"""Outputs of a run as its reader sees them: cards, tables, and texts with their Markdown rendered."""

__all__: list[str] = []
