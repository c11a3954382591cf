"""Running nodes without Prefect: handlers, one attempt at a node, the order of nodes, the state of a run."""

__all__: list[str] = []
