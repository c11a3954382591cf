"""Running a compiled plan within a flow run: Prefect tasks, reuse, limits, preflight."""
