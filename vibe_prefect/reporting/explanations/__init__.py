"""Explanations of nodes: who made a result, and why it was accepted or refused."""

__all__: list[str] = []
