"""Readers of arguments: plan files, tools, durations, and answers of a server that may not be there."""

__all__: list[str] = []
