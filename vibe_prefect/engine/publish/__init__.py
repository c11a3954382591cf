"""What Prefect is told besides task runs: artifacts, events, assets."""
