"""Settings that keep a Prefect server well while plans run."""

from __future__ import annotations

from collections.abc import Mapping

SERVER_SETTINGS: Mapping[str, str] = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
}
"""Variables for a server's environment. By default a server with SQLite writes each task run by itself, and falls
behind a large plan: in batches it needs a third of the CPU time. The flush interval is in whole seconds. Analytics
only fail where there is no internet.
"""

REASONS: Mapping[str, str] = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "nothing is sent to Prefect",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "events are written in batches",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "task runs are written in batches",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "a batch waits 1 s at most",
}
"""Reason for each of `SERVER_SETTINGS`, in a few words."""

EMBEDDED_DEFAULTS = (
    "PREFECT_SERVER_API_AUTH_STRING",
    "PREFECT_SERVER_API_BASE_PATH",
    "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED",
    "PREFECT_SERVER_API_DEFAULT_LIMIT",
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE",
    "PREFECT_SERVER_DATABASE_MIGRATE_ON_START",
    "PREFECT_SERVER_DOCKET_URL",
    "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING",
    "PREFECT_SERVER_EVENTS_MESSAGING_BROKER",
    "PREFECT_SERVER_EVENTS_MESSAGING_CACHE",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_ENABLED",
)
"""Settings for which an embedded server keeps Prefect's defaults, whatever the environment, a profile or a file says.

What is set there is for another server, which has a login, an address of its own, a message broker, or services in
other processes.
"""

CLIENT_SETTINGS: Mapping[str, str] = {
    "PREFECT_RUNNER_POLL_FREQUENCY": "1",
    "PREFECT_WORKER_QUERY_SECONDS": "1",
}
"""Variables that let a served flow and a worker take up a run within a second of its trigger: they ask once a second
and not every ten."""
