"""Values that all other parts share: plans, feedback, progress, budgets, outputs."""

__all__: list[str] = []
