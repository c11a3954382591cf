"""Tools of MCP servers: one tool for each that the operator allows."""

__all__: list[str] = []
