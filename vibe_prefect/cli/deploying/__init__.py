"""The commands around servers, deployments, workers and stored plans."""

__all__: list[str] = []
