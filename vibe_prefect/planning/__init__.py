"""From a vibe to a plan: what a model is told, how its answer is read and checked, and the plan as a file."""

__all__: list[str] = []
