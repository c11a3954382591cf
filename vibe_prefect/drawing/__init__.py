"""Drawings of plans: layout, SVG, mermaid, and text for a terminal."""

__all__: list[str] = []
