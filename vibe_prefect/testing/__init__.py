"""Help for tests and benchmarks of plans."""

from vibe_prefect.testing.server import running_server

__all__ = ["running_server"]
