"""The values that everything speaks of: plans, feedback, progress, budgets, outputs."""
