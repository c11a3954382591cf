"""Prefect servers: starting one, its settings, its UI, and its failures in words."""

__all__: list[str] = []
