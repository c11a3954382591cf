"""The server through which assistants use plans and runs: `vibe-prefect mcp`."""

__all__: list[str] = []
