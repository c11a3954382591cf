"""The settings of the package and of its tools."""

__all__: list[str] = []
