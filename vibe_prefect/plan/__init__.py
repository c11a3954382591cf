"""Plans, compiled for a run: graph, bindings, keys, checks, and forecasts."""
