"""Values that all other parts share: plans, feedback, progress, budgets, outputs."""
