"""Running a compiled plan within a flow run: Prefect tasks, reuse, limits, preflight."""

__all__: list[str] = []
