"""Publishers to Prefect besides task runs: artifacts, events, assets."""

__all__: list[str] = []
