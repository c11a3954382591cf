"""Drawings of plans: layout, SVG, mermaid, and text for a terminal."""
