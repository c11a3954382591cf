"""Runs that the server has on record: finding, listing, reporting, pruning."""

__all__: list[str] = []
