"""The commands about plans and runs, one file each."""

__all__: list[str] = []
