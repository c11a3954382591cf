"""JSON Schemas: which are allowed, checking data against them, and the fields that they promise."""

__all__: list[str] = []
