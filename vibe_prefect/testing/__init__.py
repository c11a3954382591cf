"""Help for tests and benchmarks of plans."""

from vibe_prefect.testing.server import free_port, running_server

__all__ = ["free_port", "running_server"]
