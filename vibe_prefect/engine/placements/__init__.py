"""Placements: where the work of nodes is done besides the process of the run, and how it gets there and back."""

__all__: list[str] = []
