"""Checks of what the nodes of a plan are to do: their work, templates, lists, conditions, variations and fallbacks."""

__all__: list[str] = []
