"""Publishers to Prefect besides task runs: artifacts, events, assets."""
