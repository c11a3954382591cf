"""Help for tests and benchmarks of plans: a model by a script, a tool that notes its calls, runs without a server.

The fixtures for pytest are in `vibe_prefect.testing.fixtures`.
"""

from vibe_prefect.testing.offline import run_offline
from vibe_prefect.testing.scripted import RecordingTool, ScriptedModel, verdict
from vibe_prefect.testing.server import free_port, running_server

__all__ = ["RecordingTool", "ScriptedModel", "free_port", "run_offline", "running_server", "verdict"]
