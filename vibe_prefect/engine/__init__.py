"""The Prefect layer: the flow and its tasks, records, publishers, past runs and deployments."""

__all__: list[str] = []
