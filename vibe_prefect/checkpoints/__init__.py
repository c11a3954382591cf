"""The contract's checkpoints: finished nodes of a run as files, from which a later run can start."""

__all__: list[str] = []
