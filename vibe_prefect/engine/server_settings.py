"""Settings that keep a Prefect server well while plans run."""

from __future__ import annotations

from collections.abc import Mapping

SERVER_SETTINGS: Mapping[str, str] = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
}
"""With SQLite a server writes each task run on its own unless told otherwise, and falls behind a large plan: in batches
it needs a third of the CPU time. The flush interval is in whole seconds. Analytics only fail where there is no
internet.
"""
