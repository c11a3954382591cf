"""Inputs of a run: the plan in its forms, folders within the operator's bounds, tools."""

__all__: list[str] = []
