"""The process around a command: its settings, its Prefect server, and the signals that end it."""

__all__: list[str] = []
