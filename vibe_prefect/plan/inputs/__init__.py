"""Inputs of a plan: how it declares them, what a run gives for them, and which nodes name them."""

__all__: list[str] = []
