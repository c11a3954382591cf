"""The settings of the package and of its tools."""
