"""Plans, compiled for a run: graph, bindings, keys, checks, and forecasts."""

__all__: list[str] = []
