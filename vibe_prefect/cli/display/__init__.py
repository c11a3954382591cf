"""Displays of plans and runs: on a terminal, as plain lines, as JSON documents."""

__all__: list[str] = []
